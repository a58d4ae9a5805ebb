//! A job that does to files what its arguments say, one operation each, and prints how each went: `ok`, what it found, or the
//! error. To see what a host makes of it.
//!
//! | argument | what is done |
//! | --- | --- |
//! | `write PATH BYTES` | creates or truncates the file and writes so many bytes, in pieces of at most 64 KiB |
//! | `append PATH BYTES` | the same at the end |
//! | `at PATH OFFSET BYTES` | writes so many bytes at an offset of a file that exists |
//! | `size PATH BYTES` | makes the file so long |
//! | `text PATH TEXT` | writes a text |
//! | `read PATH` | prints the file's content |
//! | `stat PATH` | prints the file's length |
//! | `list PATH` | prints the directory's names, sorted |
//! | `mkdir PATH`, `rmdir PATH`, `unlink PATH` | |
//! | `symlink TARGET PATH`, `link OLD NEW`, `rename OLD NEW`, `readlink PATH` | |
//! | `keep PATH BYTES` | opens (and creates) a file, writes so many bytes and keeps it open |
//! | `drop` | closes what is kept open |
//! | `many PATH COUNT` | creates empty files PATH0, PATH1, ...; prints how many it could |
//! | `open PATH COUNT` | opens a file so many times and keeps all; prints how many it could |
//! | `clocks MS` | sleeps; prints by how many milliseconds the monotonic clock and the wall clock went on, and the year, roughly |
//! | `random` | prints a random number |
//! | `input` | prints what is on standard input |
//! | `variables`, `arguments` | prints the environment, sorted; how many arguments there are |
//! | `exit CODE` | ends there |
//! | `cwd` | prints the variable PWD and the current directory |

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PIECE: usize = 64 * 1024;

fn main() {
    let mut kept = Vec::new();
    for argument in std::env::args().skip(1) {
        match perform(&argument, &mut kept) {
            Ok(said) if said.is_empty() => println!("ok"),
            Ok(said) => println!("{said}"),
            Err(error) => println!("{:?}", error.kind()),
        }
    }
}

fn perform(argument: &str, kept: &mut Vec<File>) -> io::Result<String> {
    let mut words = argument.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let operation = word();
    match operation {
        "write" => {
            let mut file = File::create(word())?;
            write(&mut file, number(word())?)?;
        }
        "append" => {
            let mut file = OpenOptions::new().append(true).create(true).open(word())?;
            write(&mut file, number(word())?)?;
        }
        "at" => {
            let mut file = OpenOptions::new().write(true).open(word())?;
            file.seek(SeekFrom::Start(number(word())?))?;
            write(&mut file, number(word())?)?;
        }
        "size" => OpenOptions::new().write(true).open(word())?.set_len(number(word())?)?,
        "text" => fs::write(word(), word())?,
        "read" => return fs::read_to_string(word()),
        "stat" => return Ok(fs::metadata(word())?.len().to_string()),
        "list" => {
            let names =
                fs::read_dir(word())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            return Ok(names.join(" "));
        }
        "mkdir" => fs::create_dir(word())?,
        "rmdir" => fs::remove_dir(word())?,
        "unlink" => fs::remove_file(word())?,
        "symlink" => {
            #[expect(deprecated, reason = "what replaced it is not stable on WASI")]
            fs::soft_link(word(), word())?;
        }
        "link" => fs::hard_link(word(), word())?,
        "rename" => fs::rename(word(), word())?,
        "readlink" => return Ok(fs::read_link(word())?.display().to_string()),
        "keep" => {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(word())?;
            let written = write(&mut file, number(word())?);
            kept.push(file);
            written?;
        }
        "drop" => kept.clear(),
        "many" => {
            let (path, count) = (word(), number(word())?);
            let made = (0..count).take_while(|index| File::create(format!("{path}{index}")).is_ok());
            return Ok(made.count().to_string());
        }
        "open" => {
            let (path, count) = (word(), number(word())?);
            let opened = (0..count).map_while(|_| File::open(path).ok());
            let before = kept.len();
            kept.extend(opened);
            return Ok((kept.len() - before).to_string());
        }
        "clocks" => {
            let (monotonic, wall) = (Instant::now(), SystemTime::now());
            thread::sleep(Duration::from_millis(number(word())?));
            let since = wall.elapsed().map_err(io::Error::other)?;
            let epoch = wall.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
            let year = 1970 + epoch.as_secs() / (365 * 24 * 3600);
            return Ok(format!("{} {} {year}", monotonic.elapsed().as_millis(), since.as_millis()));
        }
        // Its keys come from the host's random numbers.
        "random" => return Ok(RandomState::new().hash_one(0).to_string()),
        "input" => return io::read_to_string(io::stdin()).map(|input| format!("{input:?}")),
        "variables" => {
            let mut variables: Vec<_> =
                std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            variables.sort();
            return Ok(variables.join(" "));
        }
        "arguments" => return Ok(std::env::args().count().to_string()),
        "exit" => std::process::exit(i32::try_from(number(word())?).unwrap_or(1)),
        "cwd" => {
            let variable = std::env::var("PWD").unwrap_or_default();
            return Ok(format!("{variable} {}", std::env::current_dir()?.display()));
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(String::new())
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn write(file: &mut File, bytes: u64) -> io::Result<()> {
    let mut bytes = io::repeat(b'x').take(bytes);
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        if bytes.by_ref().take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(());
        }
        file.write_all(&piece)?;
    }
}
