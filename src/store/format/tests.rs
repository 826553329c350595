//! What is encoded can be decoded, and every flipped bit is found.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::checked::{checksum, with_checksum};
use super::header::decode_header;
use super::*;

fn decode_all(cells: &[Cell]) -> Result<Record, Fault> {
    decode(&cells[0], |offset| cells.get(offset as usize).copied())
}

fn any_mode() -> impl Strategy<Value = RoomMode> {
    prop::sample::select(vec![RoomMode::Open, RoomMode::Frozen, RoomMode::Closed])
}

proptest! {
    #[test]
    fn a_room_survives_encoding(party in "\\PC{0,30}", room in "\\PC{0,300}") {
        let cells = encode_room(&party, &room).unwrap();
        let expected = RoomRecord { party, room, cells: cells.len() as u32 };
        prop_assert_eq!(decode_all(&cells), Ok(Record::Room(expected)));
    }

    #[test]
    fn a_counter_survives_encoding(room: u32, ordinal: u16, kind in "[a-z❤]{0,10}", count: u64) {
        let room = RoomId::at(CellId::new(room));
        let cell = encode_counter(room, ordinal, &kind, count).unwrap();
        let expected = CounterRecord { room, ordinal, kind };
        prop_assert_eq!(decode_all(&[cell]), Ok(Record::Counter(expected)));
        let counter = CounterCell::new(cell);
        prop_assert_eq!((counter.count(), counter.sealed()), (count, Sealed::Copy(count)));
    }

    #[test]
    fn a_flipped_bit_of_a_room_is_found(
        bit in 0usize..1024,
        room in "\\PC{40,56}",
        mode in any_mode(),
    ) {
        let mut cells = encode_room("main", &room).unwrap();
        prop_assume!(bit < cells.len() * 512);
        stamp_state(&mut cells[0], RoomState { mode, active: Some(1_800_000_000) });
        cells[bit / 512][bit % 512 / 64] ^= 1 << (bit % 64);
        let is_whole = matches!(decode_all(&cells), Ok(Record::Room(_)))
            && RoomCell::new(cells[0]).state().is_ok()
            && RoomCell::new(cells[0]).resetting().is_ok();
        prop_assert!(!is_whole, "{bit}");
        prop_assert!(decode_all(&cells) != Err(Fault::Torn), "{bit}");
    }

    #[test]
    fn a_flipped_bit_of_a_counter_is_found(bit in 0usize..512, count: u64) {
        let mut cell = encode_counter(RoomId::at(CellId::new(70)), 3, "love", count).unwrap();
        cell[bit / 64] ^= 1 << (bit % 64);
        let is_whole = matches!(decode_all(&[cell]), Ok(Record::Counter(_)))
            && CounterCell::new(cell).is_sealed();
        prop_assert!(!is_whole, "{bit}");
    }

    #[test]
    fn a_rooms_state_survives_encoding(mode in any_mode(), active in 1u32.., is_known: bool) {
        let mut cells = encode_room("main", "talk").unwrap();
        let state = RoomState { mode, active: is_known.then_some(active) };
        stamp_state(&mut cells[0], state);
        prop_assert_eq!(RoomCell::new(cells[0]).state(), Ok(state));
        prop_assert!(decode_all(&cells).is_ok());
    }

    #[test]
    fn no_cells_make_decoding_panic(cells in proptest::collection::vec(any::<Cell>(), 1..4)) {
        let _ = decode_all(&cells);
        let _ = decode_header(&cells[0]);
    }
}

#[test]
fn a_room_without_its_last_cell_is_torn() {
    let mut cells = encode_room("main", &"x".repeat(100)).unwrap();
    assert_eq!(decode_all(&cells[..2]), Err(Fault::Torn));
    cells[2] = [0; 8];
    assert_eq!(decode_all(&cells), Err(Fault::Torn));
}

#[test]
fn a_room_with_too_many_cells_is_damaged() {
    let forge = |name: &str, cells: u8| {
        let mut forged = encode_room("main", name).unwrap();
        forged.resize(usize::from(cells), [u64::from(b'C'), 0, 0, 0, 0, 0, 0, 0]);
        let [tag, _, low, high, ..] = forged[0][0].to_le_bytes();
        room::write_checksums(&mut forged, u32::from_le_bytes([tag, cells, low, high]));
        forged
    };
    assert!(decode_all(&forge("talk", 1)).is_ok());
    assert!(matches!(
        decode_all(&forge("talk", 2)),
        Err(Fault::Damaged(_))
    ));
    assert!(matches!(
        decode_all(&forge("talk", 255)),
        Err(Fault::Damaged(_))
    ));
}

#[test]
fn a_damaged_or_foreign_header_is_refused() {
    let header = encode_header(7);
    assert_eq!(decode_header(&header), Ok(()));
    assert_eq!(decode_header(&[0; 8]), Err(HeaderError::NotASnapshot));
    for word in 1..4 {
        let mut damaged = header;
        damaged[word] ^= 1 << 40;
        assert_eq!(decode_header(&damaged), Err(HeaderError::Checksum));
    }
    for other in [1, 3] {
        let mut header = header;
        let sum = checksum([header[0], other, header[2], header[3]]);
        header[1] = with_checksum(other as u32, sum);
        assert_eq!(
            decode_header(&header),
            Err(HeaderError::Version(other as u32))
        );
    }
}

#[test]
fn a_flipped_bit_of_a_mark_in_the_header_is_found() {
    let first = encode_header(7).map(AtomicU64::new);
    let extension = AtomicCell::default();
    let copy = || HeaderCell::new(first.each_ref().map(|word| word.load(Ordering::Relaxed)));
    assert_eq!(copy().closed(), Ok(None));
    assert_eq!(copy().length(), Ok(0));
    let header = HeaderWords::new(&first, &extension);
    header.set_closed(Some(CellId::new(70)));
    header.set_length(16_384);
    assert_eq!(copy().closed(), Ok(Some(CellId::new(70))));
    assert_eq!(copy().length(), Ok(16_384));
    for bit in 0..64 {
        for word in [words::CLOSED_WORD, words::LENGTH_WORD] {
            first[word].fetch_xor(1 << bit, Ordering::Relaxed);
        }
        assert!(copy().closed().is_err() && copy().length().is_err());
        for word in [words::CLOSED_WORD, words::LENGTH_WORD] {
            first[word].fetch_xor(1 << bit, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    assert_eq!(encode_room("main", &"x".repeat(MAX_NAME_BYTES)), None);
    let long = "x".repeat(MAX_KIND_BYTES + 1);
    assert_eq!(
        encode_counter(RoomId::at(CellId::FIRST_RECORD), 0, &long, 0),
        None
    );
}
