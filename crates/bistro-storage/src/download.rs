//! Reads one object: a small one in one stream, a large one in pieces, several at a time, each asked for again from where it
//! broke off. Every byte is copied once, from the connection into the one buffer that becomes the object, and hashed on the
//! way if its hash is known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bistro_core::ids::Hash;
use blake3::Hasher;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use memmap2::MmapMut;

use crate::error::{StorageError, refusal};
use crate::hashing::{self, PIECE};
use crate::pace::Pace;

/// Pieces in flight at a time.
const PARALLEL: usize = 4;

/// Room made for a body at once whose length is not stated.
const FIRST_CHUNK: u64 = 64 << 10;

/// What a read found.
pub(crate) enum Found {
    /// No such object.
    Nothing,
    /// The object that the caller knows already.
    Unchanged,
    /// The object, and its tag if the server gave one.
    Object(Bytes, Option<String>),
}

/// One read under way.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) pace: Pace<'a>,
    /// What the bytes must hash to.
    pub(crate) hash: Option<&'a Hash>,
}

/// What the first request brought.
enum Begun {
    Done(Found),
    /// The first piece of an object of this length.
    Pieces(Box<GetObjectOutput>, u64),
}

/// Memory is taken ahead of the bytes in steps of this size: page by page, as bytes come, costs more time than the copy.
const STEP: usize = 2 << 20;

/// Bytes `start..end` of an object, of which the first `had` came.
struct Piece {
    start: usize,
    end: usize,
    had: usize,
    hasher: Option<Hasher>,
}

impl Download<'_> {
    /// Reads the object, unless it is still the one tagged `known`.
    pub(crate) async fn run(&self, known: Option<&str>) -> Result<Found, StorageError> {
        let mut attempts = self.pace.attempts();
        loop {
            match self.begin(known, self.pace.limits.max_bytes > PIECE).await {
                Ok(Begun::Done(found)) => return Ok(found),
                Ok(Begun::Pieces(first, length)) => return self.pieces(*first, length).await,
                Err(error) => attempts.after(error).await?,
            }
            self.pace.restart();
        }
    }

    async fn begin(&self, known: Option<&str>, ranged: bool) -> Result<Begun, StorageError> {
        let at = self.pace.at;
        let request = self.client.get_object().bucket(&at.bucket.name).key(&at.key);
        let request = request.set_if_none_match(known.map(Into::into));
        let request = request.set_range(ranged.then(|| format!("bytes=0-{}", PIECE - 1)));
        let answer = match self.pace.in_time(Box::pin(request.send())).await? {
            Ok(answer) => answer,
            Err(error) => match error.raw_response().map(|response| response.status().as_u16()) {
                Some(304) if known.is_some() => return Ok(Begun::Done(Found::Unchanged)),
                // An empty object has no byte 0.
                Some(416) if ranged => return Box::pin(self.begin(known, false)).await,
                _ => return Ok(Begun::Done(refusal(at, &error).absent_is_none()?.unwrap_or(Found::Nothing))),
            },
        };
        let Some(range) = &answer.content_range else { return self.whole(answer).await };
        match parse_range(range) {
            Some((0, last, length)) if ranged && last + 1 == length.min(PIECE) => {
                if length > self.pace.limits.max_bytes {
                    Err(self.pace.too_large(Some(length)))
                } else if length > PIECE {
                    Ok(Begun::Pieces(Box::new(answer), length))
                } else {
                    self.whole(answer).await
                }
            }
            _ => Err(self.pace.malformed("another range than the one asked for")),
        }
    }

    /// Reads a body that is the whole object.
    async fn whole(&self, mut answer: GetObjectOutput) -> Result<Begun, StorageError> {
        let max_bytes = self.pace.limits.max_bytes;
        let stated = stated_length(&answer);
        if stated.is_some_and(|n| n > max_bytes) {
            return Err(self.pace.too_large(stated));
        }
        let mut hasher = self.hash.map(|_| Hasher::new());
        let mut bytes = Vec::new();
        let room = stated.unwrap_or(FIRST_CHUNK).min(max_bytes) as usize;
        bytes.try_reserve_exact(room).map_err(|_| self.pace.no_memory(room))?;
        while let Some(chunk) = self.next(&mut answer.body, bytes.len()).await? {
            if (bytes.len() + chunk.len()) as u64 > max_bytes {
                return Err(self.pace.too_large(None));
            }
            bytes.try_reserve(chunk.len()).map_err(|_| self.pace.no_memory(bytes.len() + chunk.len()))?;
            bytes.extend_from_slice(&chunk);
            hasher.as_mut().map(|hasher| hasher.update(&chunk));
        }
        if let Some(n) = stated.filter(|n| *n != bytes.len() as u64) {
            return Err(self.pace.truncated(bytes.len(), &format!("{n} were stated")));
        }
        self.expect(hasher.map(|hasher| Hash(*hasher.finalize().as_bytes())))?;
        Ok(Begun::Done(Found::Object(bytes.into(), answer.e_tag)))
    }

    /// Reads the object of which `first` is the first piece.
    async fn pieces(&self, first: GetObjectOutput, length: u64) -> Result<Found, StorageError> {
        let etag = first.e_tag.clone();
        let (mut first, room) = (Some(first), self.room(length as usize)?);
        let pieces = (0..length as usize).step_by(PIECE as usize).map(|start| {
            let end = (start + PIECE as usize).min(length as usize);
            Piece { start, end, had: 0, hasher: self.hash.map(|_| hashing::of_piece(start as u64)) }
        });
        let reads = pieces.map(|piece| self.piece(piece, first.take(), etag.as_deref(), &room));
        // None runs yet; as an iterator they would be too general for the compiler to send to another thread.
        let reads: Vec<_> = reads.collect();
        let hashers: Vec<Option<Hasher>> = stream::iter(reads).buffered(PARALLEL).try_collect().await?;
        let hashes: Option<Vec<_>> = hashers.iter().map(|hasher| hasher.as_ref().map(hashing::end)).collect();
        self.expect(hashes.map(|hashes| hashing::join(&hashes, length)))?;
        Ok(Found::Object(Bytes::from_owner(room.into_inner().unwrap_or_else(PoisonError::into_inner)), etag))
    }

    /// Memory for `length` bytes, which is only taken as bytes come. A machine that has not even the addresses refuses the
    /// object; a `Vec` would end the process.
    fn room(&self, length: usize) -> Result<Mutex<MmapMut>, StorageError> {
        MmapMut::map_anon(length).map(Mutex::new).map_err(|_| self.pace.no_memory(length))
    }

    /// Fills one piece, from `answer` if it is there already.
    async fn piece(
        &self,
        mut piece: Piece,
        mut answer: Option<GetObjectOutput>,
        etag: Option<&str>,
        room: &Mutex<MmapMut>,
    ) -> Result<Option<Hasher>, StorageError> {
        let length = lock(room).len() as u64;
        let mut attempts = self.pace.attempts();
        loop {
            let outcome = match answer.take() {
                Some(answer) => self.fill(&mut piece, answer, room).await,
                None => match self.ask(&piece, etag, length).await {
                    Ok(answer) => self.fill(&mut piece, answer, room).await,
                    Err(error) => Err(error),
                },
            };
            match outcome {
                Ok(()) => return Ok(piece.hasher),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// Asks for what is missing of a piece, of the very object that was begun.
    async fn ask(&self, piece: &Piece, etag: Option<&str>, length: u64) -> Result<GetObjectOutput, StorageError> {
        let at = self.pace.at;
        let (from, last) = ((piece.start + piece.had) as u64, piece.end as u64 - 1);
        let request = self.client.get_object().bucket(&at.bucket.name).key(&at.key);
        let request = request.range(format!("bytes={from}-{last}")).set_if_match(etag.map(Into::into));
        let answer = self.pace.in_time(Box::pin(request.send())).await?;
        let answer = answer.map_err(|error| refusal(at, &error).error)?;
        let range = answer.content_range.as_deref().and_then(parse_range);
        if range == Some((from, last, length)) {
            Ok(answer)
        } else {
            Err(self.pace.malformed("another range than the one asked for"))
        }
    }

    async fn fill(
        &self,
        piece: &mut Piece,
        mut answer: GetObjectOutput,
        room: &Mutex<MmapMut>,
    ) -> Result<(), StorageError> {
        let size = piece.end - piece.start;
        while let Some(chunk) = self.next(&mut answer.body, piece.had).await? {
            if chunk.len() > size - piece.had {
                return Err(self.pace.malformed("more bytes than were asked for"));
            }
            let (from, to) = (piece.start + piece.had, piece.start + piece.had + chunk.len());
            let mut room = lock(room);
            take_ahead(&room, from, to, piece.end);
            room[from..to].copy_from_slice(&chunk);
            drop(room);
            piece.had += chunk.len();
            piece.hasher.as_mut().map(|hasher| hasher.update(&chunk));
        }
        if piece.had < size {
            return Err(self.pace.truncated(piece.had, &format!("{size} were asked for")));
        }
        Ok(())
    }

    /// The next bytes of a body of which `had` came.
    async fn next(&self, body: &mut ByteStream, had: usize) -> Result<Option<Bytes>, StorageError> {
        let chunk = self.pace.in_time(body.next()).await?.transpose();
        let chunk = chunk.map_err(|error| self.pace.truncated(had, &error.to_string()))?;
        self.pace.came(chunk.as_ref().map_or(0, Bytes::len));
        Ok(chunk)
    }

    fn expect(&self, found: Option<Hash>) -> Result<(), StorageError> {
        match (self.hash, found) {
            (Some(wanted), Some(found)) if *wanted != found => {
                Err(StorageError::WrongHash { at: self.pace.at.clone(), found })
            }
            _ => Ok(()),
        }
    }
}

/// Pieces of one read are filled by one task, so nobody ever waits here.
fn lock(room: &Mutex<MmapMut>) -> MutexGuard<'_, MmapMut> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the kernel put memory behind the step that `from..to` begins or reaches into, if it does so on demand.
fn take_ahead(room: &MmapMut, from: usize, to: usize, end: usize) {
    let step = to.next_multiple_of(STEP).min(end);
    let begin = from.next_multiple_of(STEP);
    #[cfg(target_os = "linux")]
    if begin < step {
        let _ = room.advise_range(memmap2::Advice::PopulateWrite, begin, step - begin);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (room, begin, step);
}

fn stated_length(answer: &GetObjectOutput) -> Option<u64> {
    answer.content_length.and_then(|n| u64::try_from(n).ok())
}

/// First byte, last byte and length from `bytes 0-99/1000`.
fn parse_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, length) = (first.parse().ok()?, last.parse().ok()?, length.parse().ok()?);
    (first <= last && last < length).then_some((first, last, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_strictly() {
        assert_eq!(parse_range("bytes 0-99/1000"), Some((0, 99, 1000)));
        for bad in
            ["bytes 0-99/*", "bytes 5-4/10", "bytes 0-10/10", "0-9/10", "bytes */10", "bytes 0-18446744073709551616/1"]
        {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }
}
