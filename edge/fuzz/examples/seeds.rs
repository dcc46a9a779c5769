//! Writes the seeds of a target into a folder, each under its digest: `seeds TARGET FOLDER`. Without arguments: the names.

use std::path::Path;
use std::process::ExitCode;

use helios_fuzz::{TARGETS, target};
use helios_types::Hasher;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = arguments.as_slice() else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::SUCCESS;
    };
    let Some(target) = target(name) else {
        eprintln!("{name} is no target: run without arguments for their names");
        return ExitCode::FAILURE;
    };
    match write(&(target.seeds)(), Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(seeds: &[Vec<u8>], folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for seed in seeds {
        let mut hasher = Hasher::new();
        hasher.bytes(seed);
        std::fs::write(folder.join(format!("{:032x}", hasher.finish())), seed)?;
    }
    Ok(())
}
