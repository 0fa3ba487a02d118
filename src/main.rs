//! The program `waystation`: everything is in the library, so that tests reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(waystation::cli::main())
}
