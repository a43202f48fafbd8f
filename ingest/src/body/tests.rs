use std::io::Write;

use bytes::Bytes;
use model::{Encoding, TenantId};
use proptest::prelude::*;

use super::{DecompressError, Gate, decoded_bytes_hint, decompress, encoding_from_name};

fn compress(encoding: Encoding, plain: &[u8]) -> Bytes {
    let level = flate2::Compression::fast();
    match encoding {
        Encoding::Identity => Bytes::copy_from_slice(plain),
        Encoding::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), level);
            writer.write_all(plain).unwrap();
            writer.finish().unwrap().into()
        }
        Encoding::Deflate => {
            let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), level);
            writer.write_all(plain).unwrap();
            writer.finish().unwrap().into()
        }
        Encoding::Zstd => zstd::bulk::compress(plain, 3).unwrap().into(),
        Encoding::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap().into(),
    }
}

#[test]
fn every_encoding_gives_back_what_went_in() {
    let plain: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    for encoding in Encoding::ALL {
        for length in [0, 1, 100, plain.len()] {
            let wire = compress(encoding, &plain[..length]);
            let got = decompress(encoding, &wire, 1 << 20).unwrap();
            assert!(got == plain[..length], "{encoding:?} of {length} bytes");
        }
    }
}

#[test]
fn a_bomb_stops_at_the_cap() {
    let plain = vec![0; 8 << 20];
    for encoding in Encoding::ALL {
        let wire = compress(encoding, &plain);
        let bytes_max = 1 << 20;
        assert_eq!(
            decompress(encoding, &wire, bytes_max),
            Err(DecompressError::TooBig { bytes_max }),
            "{encoding:?}"
        );
        assert_eq!(decompress(encoding, &wire, plain.len()).unwrap().len(), plain.len());
    }
}

#[test]
fn a_gzip_body_of_two_members_is_read_to_its_end() {
    let mut wire = compress(Encoding::Gzip, &[1; 1000]).to_vec();
    wire.extend_from_slice(&compress(Encoding::Gzip, &[2; 50]));
    assert_eq!(decompress(Encoding::Gzip, &wire.into(), 1 << 20).unwrap().len(), 1050);
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    // Snappy: a claim of 60 MB in a body of ten bytes.
    let mut wire = Vec::new();
    model::wire::put_varint(&mut wire, 60_000_000);
    wire.extend_from_slice(&[0; 6]);
    let got = decompress(Encoding::Snappy, &wire.into(), 64 << 20);
    assert!(matches!(got, Err(DecompressError::Broken { .. })), "{got:?}");
    // Gzip: the size in the trailer is wrong, which its checksum tells.
    let mut wire = compress(Encoding::Gzip, &[7; 5000]).to_vec();
    let at = wire.len() - 4;
    wire[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decoded_bytes_hint(Encoding::Gzip, &wire, 1 << 20), 1 << 20);
    let got = decompress(Encoding::Gzip, &wire.into(), 1 << 20);
    assert!(matches!(got, Err(DecompressError::Broken { .. })), "{got:?}");
}

#[test]
fn a_zstd_window_beyond_eight_mebibytes_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&[0; 100]).unwrap();
    encoder.flush().unwrap();
    encoder.write_all(&vec![1; 10 << 20]).unwrap();
    let wire = encoder.finish().unwrap();
    let got = decompress(Encoding::Zstd, &wire.into(), 64 << 20);
    assert!(matches!(got, Err(DecompressError::Broken { .. })), "{got:?}");
}

#[test]
fn encoding_names_are_compared_without_case() {
    assert_eq!(encoding_from_name("GZIP"), Some(Encoding::Gzip));
    assert_eq!(encoding_from_name(" zstd "), Some(Encoding::Zstd));
    assert_eq!(encoding_from_name(""), Some(Encoding::Identity));
    assert_eq!(encoding_from_name("br"), None);
}

#[tokio::test(start_paused = true)]
async fn the_gate_makes_waiters_leave_and_lets_giants_pass_alone() {
    let gate = Gate::new(10 << 10);
    let mut permit = gate.enter(&TenantId::default(), 4 << 10).await.unwrap();
    assert_eq!(gate.used_bytes(), 4 << 10);
    permit.grow_to(6 << 10).await.unwrap();
    assert_eq!(gate.used_bytes(), 6 << 10);
    assert!(gate.enter(&TenantId::default(), 5 << 10).await.is_err());
    drop(permit);
    let giant = gate.enter(&TenantId::default(), 1 << 30).await.unwrap();
    assert!(gate.enter(&TenantId::default(), 1).await.is_err());
    drop(giant);
    assert_eq!(gate.used_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_bytes_never_panic(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
        for encoding in Encoding::ALL {
            let got = decompress(encoding, &Bytes::from(wire.clone()), 1 << 16);
            prop_assert!(got.map_or(0, |plain| plain.len()) <= 1 << 16);
        }
    }
}
