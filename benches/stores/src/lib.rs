//! One small task for each store: count reactions in numbered rooms, so that the counts survive a
//! power loss once a flush has returned.
//!
//! Each store is configured as its documentation recommends: SQLite with a write-ahead log and
//! `synchronous=FULL`, redb with its default durability, the log with an fsync. All but Ovation
//! count in memory, and write the changed counts at each flush, because a write for each reaction
//! could not keep up.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use ovation::store::{Counter, Store, StoreLimits};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

pub type Failure = Box<dyn std::error::Error>;

/// A store that can be measured.
pub trait Counts: Sized {
    /// Name of the store in reports.
    const NAME: &'static str;
    /// Opens the file, or creates it.
    fn open(path: &Path) -> Result<Self, Failure>;
    /// Counts one reaction in a room.
    fn react(&mut self, room: u32);
    /// Makes everything counted so far survive a power loss.
    fn flush(&mut self) -> Result<(), Failure>;
    /// The count of a room in the file.
    fn get(&self, room: u32) -> Result<u64, Failure>;
    /// Closes the store in order.
    fn close(self) -> Result<(), Failure> {
        Ok(())
    }
    /// Size of the file, in bytes.
    fn file_bytes(path: &Path) -> Result<u64, Failure> {
        Ok(std::fs::metadata(path)?.len())
    }
}

fn name(room: u32) -> String {
    format!("room {room}")
}

/// Ovation's snapshot file.
pub struct Ovation {
    store: Store,
    counters: HashMap<u32, Counter>,
}

impl Counts for Ovation {
    const NAME: &'static str = "ovation";

    fn open(path: &Path) -> Result<Self, Failure> {
        let (store, _) = Store::open(path, &StoreLimits::default())?;
        Ok(Self {
            store,
            counters: HashMap::new(),
        })
    }

    fn react(&mut self, room: u32) {
        let counter = self.counters.entry(room).or_insert_with(|| {
            // There is no grower here.
            self.store.grow_ahead().expect("the file can grow");
            let id = self.store.room_or_create("main", &name(room));
            id.and_then(|id| self.store.counter_of(id, "love"))
                .expect("there is space")
        });
        counter.add(1);
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.store.flush()?)
    }

    fn get(&self, room: u32) -> Result<u64, Failure> {
        let id = self.store.find("main", &name(room)).ok_or("no such room")?;
        let kinds = self.store.kinds(id);
        Ok(kinds.first().map_or(0, |(_, counter)| counter.get()))
    }

    fn close(self) -> Result<(), Failure> {
        Ok(self.store.close()?)
    }
}

const TABLE: TableDefinition<&str, u64> = TableDefinition::new("counts");

/// redb, a copy-on-write B-tree.
pub struct Redb {
    database: redb::Database,
    changed: HashMap<u32, u64>,
}

impl Counts for Redb {
    const NAME: &'static str = "redb";

    fn open(path: &Path) -> Result<Self, Failure> {
        let database = redb::Database::create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(Self {
            database,
            changed: HashMap::new(),
        })
    }

    fn react(&mut self, room: u32) {
        *self.changed.entry(room).or_default() += 1;
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (room, more) in self.changed.drain() {
                let key = name(room);
                let count = table.get(key.as_str())?.map_or(0, |count| count.value());
                table.insert(key.as_str(), count + more)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, room: u32) -> Result<u64, Failure> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let count = table.get(name(room).as_str())?;
        Ok(count.ok_or("no such room")?.value())
    }
}

/// SQLite.
pub struct Sqlite {
    connection: rusqlite::Connection,
    changed: HashMap<u32, u64>,
}

impl Counts for Sqlite {
    const NAME: &'static str = "sqlite";

    fn open(path: &Path) -> Result<Self, Failure> {
        let connection = rusqlite::Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS counts (room TEXT PRIMARY KEY, count INTEGER) \
             WITHOUT ROWID",
        )?;
        Ok(Self {
            connection,
            changed: HashMap::new(),
        })
    }

    fn react(&mut self, room: u32) {
        *self.changed.entry(room).or_default() += 1;
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let transaction = self.connection.transaction()?;
        {
            let mut add = transaction.prepare_cached(
                "INSERT INTO counts VALUES (?1, ?2) \
                 ON CONFLICT (room) DO UPDATE SET count = count + ?2",
            )?;
            for (room, more) in self.changed.drain() {
                add.execute((name(room), more as i64))?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, room: u32) -> Result<u64, Failure> {
        let mut get = self
            .connection
            .prepare_cached("SELECT count FROM counts WHERE room = ?1")?;
        Ok(get.query_row([name(room)], |row| row.get::<_, i64>(0))? as u64)
    }
}

/// An append-only log of changes, with the counts in memory.
pub struct Log {
    file: BufWriter<File>,
    counts: HashMap<String, u64>,
    changed: HashMap<u32, u64>,
}

impl Counts for Log {
    const NAME: &'static str = "append-only log";

    fn open(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(path)?;
        let mut counts = HashMap::new();
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut head = [0; 10];
        while reader.read_exact(&mut head).is_ok() {
            let length = u16::from_le_bytes([head[0], head[1]]);
            let mut more = [0; 8];
            more.copy_from_slice(&head[2..]);
            let mut room = vec![0; usize::from(length)];
            reader.read_exact(&mut room)?;
            *counts.entry(String::from_utf8(room)?).or_default() += u64::from_le_bytes(more);
        }
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, file),
            counts,
            changed: HashMap::new(),
        })
    }

    fn react(&mut self, room: u32) {
        *self.changed.entry(room).or_default() += 1;
    }

    fn flush(&mut self) -> Result<(), Failure> {
        for (room, more) in self.changed.drain() {
            let room = name(room);
            self.file.write_all(&(room.len() as u16).to_le_bytes())?;
            self.file.write_all(&more.to_le_bytes())?;
            self.file.write_all(room.as_bytes())?;
            *self.counts.entry(room).or_default() += more;
        }
        self.file.flush()?;
        Ok(self.file.get_ref().sync_data()?)
    }

    fn get(&self, room: u32) -> Result<u64, Failure> {
        Ok(*self.counts.get(&name(room)).ok_or("no such room")?)
    }
}
