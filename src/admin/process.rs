//! Memory and CPU time of this process, and the CPU time of each reactor's thread.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::os::process;

/// Memory of the process, in bytes; 0 where it can't be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Resident memory.
    pub(super) resident: u64,
    /// Resident memory without code and without the snapshot.
    pub(super) anonymous: u64,
}

impl Memory {
    /// Reads the present use.
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            resident: process::resident_bytes(&status).unwrap_or(0),
            anonymous: process::anonymous_bytes(&status).unwrap_or(0),
        }
    }
}

/// Returns the CPU time of the whole process.
pub(super) fn cpu_time() -> Option<Duration> {
    process::cpu_time("/proc/self/stat")
}

/// The threads of the reactors, for their CPU times.
#[derive(Debug)]
pub(super) struct Threads {
    /// The `stat` file of each reactor's thread, by the reactor's number; `None` if there is no
    /// such file.
    files: Vec<Option<PathBuf>>,
}

impl Threads {
    /// Finds the running threads of `count` reactors by their names.
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

    /// Returns the CPU time of each reactor so far.
    pub(super) fn cpu_times(&self) -> impl Iterator<Item = Option<Duration>> {
        let files = self.files.iter();
        files.map(|file| process::cpu_time(file.as_ref()?))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn reactor_threads_are_found_by_name() {
        let (begin, begins) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("reactor-1".to_owned());
        let thread = thread.spawn(move || begins.recv()).unwrap();
        let mut times = Vec::new();
        // The thread sets its name only once it runs.
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
