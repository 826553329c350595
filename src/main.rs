//! The `ovation` binary: all of it is [`ovation::cli`].

fn main() -> std::process::ExitCode {
    ovation::cli::main()
}
