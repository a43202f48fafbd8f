//! Commits under competition and lost answers.

use std::sync::Arc;

use model::Signal;
use object_store::memory::InMemory;

use crate::catalog::{CATALOG_VERSION, Catalog, Change, Sidecar, commit_path, seal, unseal};
use crate::fakes::components;
use crate::objects::Objects;
use crate::segment::SegmentMeta;
use crate::wal::Watermark;
use crate::{Components, ErrorKind, Options};

fn bucket(seed: u64, store: &Arc<InMemory>) -> (Objects, Components) {
    let mut components = components(seed);
    components.object_store = Some(Arc::clone(store) as _);
    let objects = Objects::open(&Options::new("unused".into()), &components).unwrap();
    (objects, components)
}

fn meta(id: &str) -> SegmentMeta {
    SegmentMeta {
        id: id.to_owned(),
        signal: "logs".to_owned(),
        tenant: "default".to_owned(),
        level: 0,
        rows: 1,
        time_min_ns: 0,
        time_max_ns: 0,
        received_max_ns: 0,
        files: Vec::new(),
        stats: String::new(),
        wal_sequence_max: 0,
    }
}

fn add(nonce: u64, id: &str) -> Change {
    Change { nonce, added: vec![meta(id)], ..Change::default() }
}

fn ids(catalog: &Catalog) -> Vec<String> {
    catalog.with(|state| state.segments.keys().cloned().collect())
}

#[tokio::test]
async fn two_writers_both_succeed_and_see_each_other() {
    let store = Arc::new(InMemory::new());
    let (objects, parts) = bucket(1, &store);
    let first =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    let second =
        Catalog::open(objects.clone(), parts.clone(), "two".to_owned(), false).await.unwrap();
    assert!(first.commit(add(1, "a")).await.unwrap().is_empty());
    let others = second.commit(add(2, "b")).await.unwrap();
    assert_eq!(others.len(), 1);
    assert_eq!(ids(&second), ["a", "b"]);
    assert_eq!(first.commit(add(3, "c")).await.unwrap().len(), 1);
    let third = Catalog::open(objects, parts, "three".to_owned(), false).await.unwrap();
    assert_eq!(ids(&third), ["a", "b", "c"]);
    let gone = Change { nonce: 4, removed: vec!["z".to_owned()], ..Change::default() };
    third.commit(gone).await.unwrap_err();
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_made_once() {
    let store = Arc::new(InMemory::new());
    let (objects, parts) = bucket(2, &store);
    let before =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    let zombie =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    let change = Change {
        wal: Some((Signal::Logs, Watermark { sequence: 7, holes: vec![(3, 4)] })),
        ..add(5, "a")
    };
    before.commit(change.clone()).await.unwrap();
    // The other one never heard that the same change went through.
    zombie.commit(change).await.unwrap();
    assert_eq!(objects.list("catalog").await.unwrap().len(), 1);
    assert_eq!(ids(&zombie), ["a"]);
    assert_eq!(zombie.watermark(Signal::Logs).holes, [(3, 4)]);
}

/// Writes a segment's sidecar, as a flush does before it commits.
async fn flushed(objects: &Objects, id: &str, from: u64, to: u64) {
    let mark = |sequence| Watermark { sequence, holes: Vec::new() };
    let sidecar = Sidecar {
        version: CATALOG_VERSION,
        meta: meta(id),
        siblings: vec![id.to_owned()],
        replaces: Vec::new(),
        writer: "one".to_owned(),
        wal: mark(to),
        made: 0,
        from: Some(mark(from)),
    };
    let path = format!("segments/default/logs/{id}.meta");
    objects.create(&path, seal(&sidecar).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_first_flush_without_its_commit_is_no_damage() {
    let store = Arc::new(InMemory::new());
    let (objects, parts) = bucket(5, &store);
    flushed(&objects, "a", 0, 7).await;
    let catalog =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    assert_eq!(ids(&catalog), ["a"]);
    assert_eq!(catalog.watermark(Signal::Logs).sequence, 7);
    assert!(catalog.problems().is_empty(), "{:?}", catalog.problems());
}

#[tokio::test]
async fn a_catalog_that_is_gone_is_made_again_and_said_to_have_been() {
    let store = Arc::new(InMemory::new());
    let (objects, parts) = bucket(6, &store);
    flushed(&objects, "a", 0, 7).await;
    flushed(&objects, "b", 7, 9).await;
    let catalog =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    assert_eq!(ids(&catalog), ["a", "b"]);
    assert_eq!(catalog.watermark(Signal::Logs).sequence, 9);
    assert_eq!(catalog.problems().len(), 1, "{:?}", catalog.problems());
}

#[tokio::test]
async fn a_process_that_was_replaced_is_fenced_off() {
    let store = Arc::new(InMemory::new());
    let (objects, parts) = bucket(4, &store);
    let zombie =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    zombie.announce().await.unwrap();
    zombie.commit(add(1, "a")).await.unwrap();
    let heir =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    heir.announce().await.unwrap();
    heir.commit(add(2, "b")).await.unwrap();
    assert_eq!(zombie.commit(add(3, "c")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(*zombie.fenced().borrow());
    zombie.commit(add(4, "d")).await.unwrap_err();
    assert!(!heir.look().await.unwrap(), "nothing of the zombie came in");
    assert_eq!(ids(&heir), ["a", "b"]);
    // One that only looks notices as well; another writer does not mind.
    let third =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    let other = Catalog::open(objects, parts, "two".to_owned(), false).await.unwrap();
    third.announce().await.unwrap();
    assert!(heir.look().await.unwrap() && *heir.fenced().borrow());
    assert!(other.look().await.unwrap() && !*other.fenced().borrow());
}

#[tokio::test]
async fn many_commits_open_from_a_checkpoint() {
    let store = Arc::new(InMemory::new());
    let (objects, parts) = bucket(3, &store);
    let catalog =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    for number in 0..70 {
        catalog.commit(add(number, &format!("{number:03}"))).await.unwrap();
    }
    for sequence in 1..=32 {
        objects.delete(&commit_path(sequence)).await.unwrap();
    }
    let again =
        Catalog::open(objects.clone(), parts.clone(), "one".to_owned(), false).await.unwrap();
    assert_eq!(again.problems(), [] as [String; 0]);
    assert_eq!(ids(&again).len(), 70);
    // The newest checkpoint is damaged: the one before and the commits since stand in.
    let newest = crate::catalog::checkpoint_path(64);
    objects.put(&newest, "nonsense".into()).await.unwrap();
    let again = Catalog::open(objects, parts, "one".to_owned(), false).await.unwrap();
    assert_eq!(again.problems().len(), 1);
    assert_eq!(ids(&again).len(), 70);
}

#[test]
fn a_flipped_byte_breaks_the_seal() {
    let sealed = seal(&meta("a")).unwrap();
    assert_eq!(unseal::<SegmentMeta>("x", &sealed).unwrap().id, "a");
    for at in 0..sealed.len() {
        let mut damaged = sealed.to_vec();
        damaged[at] ^= 1;
        assert!(unseal::<SegmentMeta>("x", &damaged).is_err(), "flipped at {at}");
        assert!(unseal::<SegmentMeta>("x", &sealed[..at]).is_err(), "cut at {at}");
    }
}
