//! Every case of every corpus, on the stack that the server has.

use fuzz::campaign::{Bad, check, listen_to_panics};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

#[test]
fn no_case_of_the_corpus_is_bad() {
    let tried = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        listen_to_panics();
        let mut bad: Vec<(String, Bad)> = Vec::new();
        let mut cases = 0;
        for target in fuzz::targets() {
            let seeds = (target.seeds)().into_iter().map(|seed| ("a seed".to_owned(), seed));
            let all: Vec<_> = seeds.chain(fuzz::corpus(&target)).collect();
            if let Some((_, first)) = all.first() {
                let _warm = std::panic::catch_unwind(|| (target.run)(first));
            }
            for (name, case) in all {
                cases += 1;
                if let Err(ill) = check(&target, &case) {
                    bad.push((format!("{}/{name}", target.name), ill));
                }
            }
        }
        let _default = std::panic::take_hook();
        (cases, bad)
    });
    let (cases, bad) = tried.unwrap().join().unwrap();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(cases >= 100, "{cases}");
}

#[test]
fn every_target_has_a_row_in_the_matrix() {
    let rows = chaos::rows::all();
    let mut rows: Vec<&str> = rows.iter().filter_map(|row| row.id.strip_prefix("F5-")).collect();
    let targets = fuzz::targets();
    let mut names: Vec<&str> = targets.iter().map(|target| target.name).collect();
    rows.sort_unstable();
    names.sort_unstable();
    assert_eq!(rows, names);
}
