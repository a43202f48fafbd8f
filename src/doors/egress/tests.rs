use std::sync::atomic::{AtomicUsize, Ordering};

use chaos::identity::Provider;
use parking_lot::Mutex;

use super::*;

/// Answers each question with the next of its answers, the last one for ever.
#[derive(Debug)]
struct Turncoat {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Lookup for Turncoat {
    fn look_up(&self, _name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed).min(self.answers.len() - 1);
        let answer = self.answers[turn].clone();
        Box::pin(async move { Ok(answer) })
    }
}

/// What was decided about, for 127.0.0.2 to stand in for a private address and 127.0.0.1 for a
/// public one.
static DECIDED: Mutex<Vec<IpAddr>> = Mutex::new(Vec::new());

fn second_is_private(address: IpAddr, _block: bool) -> bool {
    DECIDED.lock().push(address);
    address.to_string() != "127.0.0.1"
}

fn egress(answers: &[&[&str]]) -> Egress {
    let parse = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let answers = answers.iter().map(parse).collect();
    let lookup = Arc::new(Turncoat { answers, asked: AtomicUsize::new(0) });
    let guard = Guard { lookup, refuses: second_is_private, block_private: true };
    let options = EgressOptions { response_bytes_max: 1000, ..EgressOptions::default() };
    Egress::with_guard(&options, guard).unwrap()
}

#[tokio::test]
async fn what_a_name_means_is_decided_at_each_connection() {
    let provider = Provider::start().await;
    provider.say("200 OK\r\ncontent-length: 2", "ok");
    let named = provider.address.replace("127.0.0.1", "rebound.example");
    let client = egress(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1", "127.0.0.2"], &[]]);
    assert_eq!(client.get(&named).await, Ok(b"ok".to_vec()));
    for _ in 0..3 {
        assert!(client.get(&named).await.is_err());
    }
    assert_eq!(provider.asked(), 1, "only the first answer was connected to");
    assert!(DECIDED.lock().iter().any(|address| address.to_string() == "127.0.0.2"));
}

#[tokio::test]
async fn redirects_are_checked_like_the_first_address() {
    let provider = Provider::start().await;
    let client = egress(&[&["127.0.0.1"]]);
    for target in [
        "http://127.0.0.2/",
        "http://[::1]/",
        "http://2130706434/",
        "file:///etc/passwd",
        "gopher://x/",
    ] {
        provider.say(&format!("302 Found\r\nlocation: {target}\r\ncontent-length: 0"), "");
        let asked = provider.asked();
        let why = client.get(&provider.address).await.unwrap_err();
        assert!(why.contains("not asked"), "{target}: {why}");
        assert_eq!(provider.asked(), asked + 1, "{target}");
    }
    provider.say("302 Found\r\nlocation: /again\r\ncontent-length: 0", "");
    assert_eq!(client.get(&provider.address).await, Err("more than 3 redirects".to_owned()));
    provider.say("302 Found\r\ncontent-length: 0", "");
    assert!(client.get(&provider.address).await.is_err());
}

#[tokio::test]
async fn answers_are_bounded_and_never_repeated() {
    let provider = Provider::start().await;
    let client = egress(&[&["127.0.0.1"]]);
    let secret = "secret".repeat(200);
    provider.say("200 OK\r\ncontent-length: 1200", &secret);
    let why = client.get(&provider.address).await.unwrap_err();
    assert!(why.contains("too large") && !why.contains("secret"), "{why}");
    provider.say("500 Internal Server Error\r\ncontent-length: 6", "secret");
    let why = client.get(&provider.address).await.unwrap_err();
    assert!(!why.contains("secret"), "{why}");
}
