//! Reads one object: a small one in one stream, a large one in pieces, several at a time on as many cores as there are, each
//! asked for again from where it broke off. Every byte is copied once, from the connection into the one buffer that becomes
//! the object, and hashed on the way if its hash is known.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bistro_core::ids::Hash;
use blake3::Hasher;
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;

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

/// One read under way. A clone goes on with the same read.
#[derive(Clone)]
pub(crate) struct Download {
    pub(crate) client: Client,
    pub(crate) pace: Arc<Pace>,
    /// What the bytes must hash to.
    pub(crate) hash: Option<Hash>,
}

/// What the first request brought.
enum Begun {
    Done(Found),
    /// The first piece of an object of this length.
    Pieces(Box<GetObjectOutput>, u64),
}

/// Bytes from `start` on of an object, `size` of them, of which `bytes` came: a part of the object's one buffer.
struct Piece {
    start: usize,
    size: usize,
    bytes: BytesMut,
    hasher: Option<Hasher>,
}

impl Download {
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
        let at = &self.pace.at;
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
        let (mut first, mut waiting) = (Some(first), self.cut(length as usize)?.into_iter());
        let (mut under_way, mut done) = (JoinSet::new(), Vec::with_capacity(waiting.len()));
        loop {
            while under_way.len() < PARALLEL
                && let Some(piece) = waiting.next()
            {
                let (read, first, etag) = (self.clone(), first.take(), etag.clone());
                under_way.spawn(async move { read.piece(piece, first, etag.as_deref(), length).await });
            }
            match under_way.join_next().await {
                Some(Ok(piece)) => done.push(piece?),
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => break,
            }
        }
        done.sort_by_key(|piece| piece.start);
        let hashes: Option<Vec<_>> = done.iter().map(|piece| piece.hasher.as_ref().map(hashing::end)).collect();
        self.expect(hashes.map(|hashes| hashing::join(&hashes, length)))?;
        let mut object = BytesMut::new();
        // They were one buffer, and become it again.
        for piece in done {
            object.unsplit(piece.bytes);
        }
        Ok(Found::Object(object.freeze(), etag))
    }

    /// Room for `length` bytes, which takes addresses now and memory only as bytes come, cut into pieces.
    fn cut(&self, length: usize) -> Result<Vec<Piece>, StorageError> {
        // A machine that has not even the addresses refuses the object here; without this, the process would end.
        Vec::<u8>::new().try_reserve_exact(length).map_err(|_| self.pace.no_memory(length))?;
        let mut room = BytesMut::with_capacity(length);
        let starts: Vec<usize> = (0..length).step_by(PIECE as usize).collect();
        let cut = |start: &usize| Piece {
            start: *start,
            size: (length - start).min(PIECE as usize),
            bytes: room.split_off(*start),
            hasher: self.hash.map(|_| hashing::of_piece(*start as u64)),
        };
        let mut pieces: Vec<Piece> = starts.iter().rev().map(cut).collect();
        pieces.reverse();
        Ok(pieces)
    }

    /// Fills one piece, from `answer` if it is there already.
    async fn piece(
        &self,
        mut piece: Piece,
        mut answer: Option<GetObjectOutput>,
        etag: Option<&str>,
        length: u64,
    ) -> Result<Piece, StorageError> {
        let mut attempts = self.pace.attempts();
        loop {
            let outcome = match answer.take() {
                Some(answer) => self.fill(&mut piece, answer).await,
                None => match self.ask(&piece, etag, length).await {
                    Ok(answer) => self.fill(&mut piece, answer).await,
                    Err(error) => Err(error),
                },
            };
            match outcome {
                Ok(()) => return Ok(piece),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// Asks for what is missing of a piece, of the very object that was begun.
    async fn ask(&self, piece: &Piece, etag: Option<&str>, length: u64) -> Result<GetObjectOutput, StorageError> {
        let at = &self.pace.at;
        let (from, last) = ((piece.start + piece.bytes.len()) as u64, (piece.start + piece.size) as u64 - 1);
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

    async fn fill(&self, piece: &mut Piece, mut answer: GetObjectOutput) -> Result<(), StorageError> {
        while let Some(chunk) = self.next(&mut answer.body, piece.bytes.len()).await? {
            if chunk.len() > piece.size - piece.bytes.len() {
                return Err(self.pace.malformed("more bytes than were asked for"));
            }
            piece.bytes.extend_from_slice(&chunk);
            piece.hasher.as_mut().map(|hasher| hasher.update(&chunk));
        }
        if piece.bytes.len() < piece.size {
            return Err(self.pace.truncated(piece.bytes.len(), &format!("{} were asked for", piece.size)));
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
            (Some(wanted), Some(found)) if wanted != found => {
                Err(StorageError::WrongHash { at: self.pace.at.clone(), found })
            }
            _ => Ok(()),
        }
    }
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
