//! What is written comes back, and what was flipped is seen.

use proptest::prelude::*;

use super::*;

fn decode_all(cells: &[Cell]) -> Result<Record, Fault> {
    decode(&cells[0], |offset| cells.get(offset as usize).copied())
}

proptest! {
    #[test]
    fn rooms_come_back(party in "\\PC{0,30}", room in "\\PC{0,300}") {
        let cells = encode_room(&party, &room).unwrap();
        let expected = RoomRecord { party, room, cells: cells.len() as u32 };
        prop_assert_eq!(decode_all(&cells), Ok(Record::Room(expected)));
    }

    #[test]
    fn counters_come_back(room: u32, ordinal: u8, kind in "[a-z❤]{0,10}", count: u64) {
        let cell = encode_counter(room, ordinal, &kind, count).unwrap();
        let expected = CounterRecord { room, ordinal, kind };
        prop_assert_eq!(decode_all(&[cell]), Ok(Record::Counter(expected)));
        prop_assert_eq!(Seal::of(&cell), Seal::Holds(count));
    }

    #[test]
    fn a_flipped_bit_of_a_room_is_seen(bit in 0usize..1024, room in "\\PC{40,56}") {
        let mut cells = encode_room("main", &room).unwrap();
        prop_assume!(bit < cells.len() * 512);
        cells[0][ACTIVE_WORD] = active_mark(&cells[0], 1_800_000_000);
        cells[bit / 512][bit % 512 / 64] ^= 1 << (bit % 64);
        let is_whole = matches!(decode_all(&cells), Ok(Record::Room(_)))
            && read_active(&cells[0]).is_ok()
            && read_resetting(&cells[0]).is_ok();
        prop_assert!(!is_whole, "{bit}");
        prop_assert!(decode_all(&cells) != Err(Fault::Torn), "{bit}");
    }

    #[test]
    fn a_flipped_bit_of_a_counter_is_seen(bit in 0usize..512, count: u64) {
        let mut cell = encode_counter(70, 3, "love", count).unwrap();
        cell[bit / 64] ^= 1 << (bit % 64);
        let is_whole = matches!(decode_all(&[cell]), Ok(Record::Counter(_)))
            && Seal::of(&cell) == Seal::Holds(cell[COUNT_WORD]);
        prop_assert!(!is_whole, "{bit}");
    }

    #[test]
    fn any_cells_decode_without_a_panic(cells in proptest::collection::vec(any::<Cell>(), 1..4)) {
        let _ = decode_all(&cells);
        let _ = decode_header(&cells[0]);
    }
}

#[test]
fn a_room_whose_later_cell_was_never_written_is_torn() {
    let mut cells = encode_room("main", &"x".repeat(100)).unwrap();
    assert_eq!(decode_all(&cells[..2]), Err(Fault::Torn));
    cells[2] = [0; 8];
    assert_eq!(decode_all(&cells), Err(Fault::Torn));
}

#[test]
fn a_room_of_more_cells_than_its_name_needs_is_damaged_whatever_its_checksums_say() {
    let forge = |name: &str, cells: u8| {
        let mut forged = encode_room("main", name).unwrap();
        forged.resize(usize::from(cells), [u64::from(b'C'), 0, 0, 0, 0, 0, 0, 0]);
        let [tag, _, low, high, ..] = forged[0][0].to_le_bytes();
        record::forge(&mut forged, u32::from_le_bytes([tag, cells, low, high]));
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
fn headers_are_checked() {
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
fn the_marks_of_a_header_are_checked() {
    let mut header = encode_header(7);
    assert_eq!(read_closed(&header), Ok(None));
    assert_eq!(read_length(&header), Ok(0));
    header[CLOSED_WORD] = closed_mark(&header, 70);
    header[LENGTH_WORD] = length_mark(&header, 16_384);
    assert_eq!(read_closed(&header), Ok(Some(70)));
    assert_eq!(read_length(&header), Ok(16_384));
    for bit in 0..64 {
        let mut flipped = header;
        flipped[CLOSED_WORD] ^= 1 << bit;
        flipped[LENGTH_WORD] ^= 1 << bit;
        assert!(read_closed(&flipped).is_err() && read_length(&flipped).is_err());
    }
}

#[test]
fn names_that_do_not_fit_are_refused() {
    assert_eq!(encode_room("main", &"x".repeat(MAX_NAME_BYTES)), None);
    let long = "x".repeat(MAX_KIND_BYTES + 1);
    assert_eq!(encode_counter(1, 0, &long, 0), None);
}
