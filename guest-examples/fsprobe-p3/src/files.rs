//! The operations on files.

use std::iter;

use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip3::wit_bindgen::rt::async_support::{FutureReader, StreamWriter};
use wasip3::wit_stream;

use crate::number;

const PIECE: u64 = 64 * 1024;
/// Pieces of so many bytes each are filled with it.
const FILLER: u8 = b'x';

/// What is told when a stream into a file ends.
type Written = FutureReader<Result<(), ErrorCode>>;

/// The mounted directories, and what is kept open.
pub(crate) struct Files {
    /// Each with its path in the guest.
    directories: Vec<(Descriptor, String)>,
    kept: Vec<Descriptor>,
}

/// A path, as the host takes it: relative to a mounted directory.
struct Place<'a> {
    directory: &'a Descriptor,
    path: String,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { directories: get_directories(), kept: Vec::new() }
    }

    pub(crate) async fn perform<'a>(
        &mut self,
        operation: &str,
        mut word: impl FnMut() -> &'a str,
    ) -> Result<String, ErrorCode> {
        let create = OpenFlags::CREATE;
        match operation {
            "write" => {
                let file = self.open(word(), create | OpenFlags::TRUNCATE, DescriptorFlags::WRITE).await?;
                write_at(&file, 0, number(word())?).await?;
            }
            "append" => {
                let file = self.open(word(), create, DescriptorFlags::WRITE).await?;
                let (writer, reader) = wit_stream::new();
                fill(writer, file.append_via_stream(reader), number(word())?).await?;
            }
            "at" => {
                let file = self.open(word(), OpenFlags::empty(), DescriptorFlags::WRITE).await?;
                let offset = number(word())?;
                write_at(&file, offset, number(word())?).await?;
            }
            "size" => {
                let file = self.open(word(), OpenFlags::empty(), DescriptorFlags::WRITE).await?;
                file.set_size(number(word())?).await?;
            }
            "text" => {
                let file = self.open(word(), create | OpenFlags::TRUNCATE, DescriptorFlags::WRITE).await?;
                let (mut writer, reader) = wit_stream::new();
                let written = file.write_via_stream(reader, 0);
                writer.write_all(word().as_bytes().to_vec()).await;
                drop(writer);
                written.await?;
            }
            "read" => {
                let file = self.open(word(), OpenFlags::empty(), DescriptorFlags::READ).await?;
                let (content, read) = file.read_via_stream(0);
                let content = content.collect().await;
                read.await?;
                return String::from_utf8(content).map_err(|_| ErrorCode::IllegalByteSequence);
            }
            "list" => return self.list(word()).await,
            "keep" => {
                let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
                let file = self.open(word(), create, flags).await?;
                let written = write_at(&file, 0, number(word())?).await;
                self.kept.push(file);
                written?;
            }
            "drop" => self.kept.clear(),
            "many" => {
                let (path, count) = (word(), number(word())?);
                for made in 0..count {
                    let flags = create | OpenFlags::TRUNCATE;
                    if self.open(&format!("{path}{made}"), flags, DescriptorFlags::WRITE).await.is_err() {
                        return Ok(made.to_string());
                    }
                }
                return Ok(count.to_string());
            }
            "open" => {
                let (path, count) = (word(), number(word())?);
                for opened in 0..count {
                    match self.open(path, OpenFlags::empty(), DescriptorFlags::READ).await {
                        Ok(file) => self.kept.push(file),
                        Err(_) => return Ok(opened.to_string()),
                    }
                }
                return Ok(count.to_string());
            }
            operation => return self.name(operation, word).await,
        }
        Ok(String::new())
    }

    /// What is done to names.
    async fn name<'a>(
        &self,
        operation: &str,
        mut word: impl FnMut() -> &'a str,
    ) -> Result<String, ErrorCode> {
        let (first, second) = (word(), word());
        match operation {
            "symlink" => {
                let to = self.place(second)?;
                to.directory.symlink_at(first.to_owned(), to.path).await?;
            }
            "link" => {
                let (from, to) = (self.place(first)?, self.place(second)?);
                from.directory.link_at(PathFlags::empty(), from.path, to.directory, to.path).await?;
            }
            "rename" => {
                let (from, to) = (self.place(first)?, self.place(second)?);
                from.directory.rename_at(from.path, to.directory, to.path).await?;
            }
            operation => {
                let Place { directory, path } = self.place(first)?;
                match operation {
                    "stat" => {
                        let stat = directory.stat_at(PathFlags::SYMLINK_FOLLOW, path).await?;
                        return Ok(stat.size.to_string());
                    }
                    "readlink" => return directory.readlink_at(path).await,
                    "mkdir" => directory.create_directory_at(path).await?,
                    "rmdir" => directory.remove_directory_at(path).await?,
                    "unlink" => directory.unlink_file_at(path).await?,
                    _ => return Err(ErrorCode::Invalid),
                }
            }
        }
        Ok(String::new())
    }

    async fn list(&self, path: &str) -> Result<String, ErrorCode> {
        let directory = self.open(path, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?;
        let (entries, read) = directory.read_directory();
        let mut names: Vec<String> = entries.collect().await.into_iter().map(|entry| entry.name).collect();
        read.await?;
        names.sort();
        Ok(names.join(" "))
    }

    async fn open(
        &self,
        path: &str,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> Result<Descriptor, ErrorCode> {
        let Place { directory, path } = self.place(path)?;
        directory.open_at(PathFlags::SYMLINK_FOLLOW, path, open, flags).await
    }

    /// Below the mounted directory that is the nearest, as C libraries look for it. A path that does not begin with a slash begins at the root.
    fn place(&self, path: &str) -> Result<Place<'_>, ErrorCode> {
        let path = path.trim_start_matches('/');
        let below = |mounted: &str| {
            let rest = path.strip_prefix(mounted.trim_matches('/'))?;
            (mounted == "/" || rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
        };
        let mounts =
            self.directories.iter().filter_map(|(directory, mounted)| Some((directory, below(mounted)?)));
        let (directory, rest) = mounts.min_by_key(|(_, rest)| rest.len()).ok_or(ErrorCode::NoEntry)?;
        let path = if rest.is_empty() { "." } else { rest };
        Ok(Place { directory, path: path.to_owned() })
    }
}

async fn write_at(file: &Descriptor, offset: u64, bytes: u64) -> Result<(), ErrorCode> {
    let (writer, reader) = wit_stream::new();
    fill(writer, file.write_via_stream(reader, offset), bytes).await
}

/// Writes so many bytes in pieces, until the host takes no more.
async fn fill(mut writer: StreamWriter<u8>, written: Written, bytes: u64) -> Result<(), ErrorCode> {
    let whole = iter::repeat_n(PIECE, usize::try_from(bytes / PIECE).unwrap_or(usize::MAX));
    for piece in whole.chain([bytes % PIECE]) {
        let piece = vec![FILLER; usize::try_from(piece).unwrap_or_default()];
        if !writer.write_all(piece).await.is_empty() {
            break;
        }
    }
    drop(writer);
    written.await
}
