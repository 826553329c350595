//! What the kernel says of this process: its memory, and the CPU time of its threads.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::os::procfs::kib_of;

/// The memory of the process, in bytes; 0 where it can't be known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// All that it has in RAM.
    pub(super) resident: u64,
    /// What is its own of that: not its code, and not the snapshot.
    pub(super) anonymous: u64,
}

impl Memory {
    /// What it is now.
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes_of = |name| kib_of(&status, name).unwrap_or(0) * 1024;
        Self {
            resident: bytes_of("VmRSS"),
            anonymous: bytes_of("RssAnon"),
        }
    }
}

/// The CPU time of the whole process.
pub(super) fn cpu_time() -> Option<Duration> {
    cpu_time_in(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The CPU times of the reactors' threads.
#[derive(Debug)]
pub(super) struct Threads {
    /// The file of each reactor's thread, by its number; none where there is no such file.
    files: Vec<Option<PathBuf>>,
}

impl Threads {
    /// Finds the threads of `count` reactors, which run already, by their names.
    pub(super) fn find(count: usize) -> Self {
        let mut files = vec![None; count];
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
        for task in tasks.flatten().map(|task| task.path()) {
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            let number = name.trim().strip_prefix("reactor-");
            let number = number.and_then(|number| number.parse::<usize>().ok());
            if let Some(file) = number.and_then(|number| files.get_mut(number)) {
                *file = Some(task.join("stat"));
            }
        }
        Self { files }
    }

    /// What each has used so far.
    pub(super) fn cpu_times(&self) -> impl Iterator<Item = Option<Duration>> {
        self.files
            .iter()
            .map(|file| cpu_time_in(&fs::read_to_string(file.as_ref()?).ok()?))
    }
}

/// User and system time in a `stat` file of the kernel (proc_pid_stat(5)).
fn cpu_time_in(stat: &str) -> Option<Duration> {
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let per_second = rustix::param::clock_ticks_per_second();
        let stat = format!("7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 {per_second} {per_second} 0 0");
        assert_eq!(cpu_time_in(&stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_time_in("7 (a) S 1"), None);
    }

    #[test]
    fn threads_are_found_by_their_names() {
        let (begin, begins) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("reactor-1".to_owned());
        let thread = thread.spawn(move || begins.recv()).unwrap();
        let mut times = Vec::new();
        // The thread names itself when it starts.
        while !matches!(times[..], [_, Some(_)]) {
            times = Threads::find(2).cpu_times().collect();
        }
        drop(begin);
        assert!(thread.join().unwrap().is_err());
        let memory = Memory::read();
        assert!(memory.resident > memory.anonymous && memory.anonymous > 0);
        assert!(cpu_time().is_some());
    }
}
