//! Rows of files in many layouts, by both ways.

use std::path::Path;

use arrow_array::{ArrayRef, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use tempfile::TempDir;

use super::*;
use crate::blobs::file::FileBlobs;

#[test]
fn ranges_with_little_between_them_become_one() {
    assert_eq!(joined(vec![10..20, 0..10, 30..40, 12..14, GAP * 9..GAP * 10]), [0..40, GAP * 9..GAP * 10]);
    assert_eq!(
        joined(vec![0..10, 10 + GAP..20 + GAP, 21 + 2 * GAP..30 + 2 * GAP]),
        [0..20 + GAP, 21 + 2 * GAP..30 + 2 * GAP]
    );
    assert!(joined(vec![]).is_empty());
}

const ROWS: usize = 500;

/// Short texts and long ones, some of them the same, some empty, and if `missing` some not there.
fn texts(missing: bool) -> Vec<Option<String>> {
    let text = |i: usize| match i % 11 {
        0 if missing => None,
        1 => Some(String::new()),
        2 => Some("the same text again and again".into()),
        _ => Some(format!("row {i} ünïcode {} ", i * i).repeat(1 + i * 7 % 40)),
    };
    (0..ROWS).map(text).collect()
}

struct World {
    dir: TempDir,
    blobs: Arc<dyn Blobs>,
    expected: Vec<String>,
}

const FILE: &str = "x.parquet";

impl World {
    fn new(texts: &[Option<String>], optional: bool, properties: WriterPropertiesBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let column: ArrayRef = Arc::new(texts.iter().map(Option::as_deref).collect::<StringArray>());
        let batch = RecordBatch::try_from_iter_with_nullable([("text", column, optional)]).unwrap();
        let file = std::fs::File::create(dir.path().join(FILE)).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let blobs = Arc::new(FileBlobs::new(dir.path().into()).unwrap());
        let expected = texts.iter().map(|text| text.clone().unwrap_or_default()).collect();
        Self { dir, blobs, expected }
    }

    async fn footer(&self) -> Arc<Footer> {
        let bytes = self.blobs.len(FILE).await.unwrap();
        Arc::new(Footer::read(self.blobs.as_ref(), FILE, bytes, "text").await.unwrap())
    }

    async fn directly(&self, rows: Range<u64>) -> Result<Option<Vec<String>>, PagesError> {
        directly(self.blobs.as_ref(), FILE, self.footer().await.as_ref(), &rows).await
    }

    async fn generally(&self, rows: Range<u64>) -> Result<Vec<String>, PagesError> {
        generally(Arc::clone(&self.blobs), FILE.into(), self.footer().await, rows).await
    }
}

fn layouts() -> Vec<(String, WriterPropertiesBuilder)> {
    let mut layouts = Vec::new();
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        for dictionary_bytes in [0, 2000, 1 << 20] {
            for (group, page) in [(64, 7), (1000, 90), (1000, 10_000)] {
                let properties = WriterProperties::builder()
                    .set_compression(compression)
                    .set_dictionary_enabled(dictionary_bytes > 0)
                    .set_dictionary_page_size_limit(dictionary_bytes)
                    .set_max_row_group_row_count(Some(group))
                    .set_data_page_row_count_limit(page)
                    .set_write_batch_size(page.min(30));
                layouts.push((format!("{compression}, dictionary {dictionary_bytes}, {group}/{page}"), properties));
            }
        }
    }
    layouts
}

const RANGES: [Range<u64>; 7] = [0..1, 0..500, 499..500, 63..65, 60..250, 128..192, 333..433];

#[tokio::test]
async fn both_ways_give_the_rows_of_every_layout() {
    for (name, properties) in layouts() {
        for missing in [false, true] {
            let world = World::new(&texts(missing), missing, properties.clone());
            for rows in RANGES {
                let expected = world.expected[rows.start as usize..rows.end as usize].to_vec();
                let found = world.directly(rows.clone()).await.unwrap();
                assert!(found.as_ref() == Some(&expected), "{name}, missing {missing}, rows {rows:?}");
                assert!(world.generally(rows.clone()).await.unwrap() == expected, "{name}, {rows:?}");
            }
        }
    }
}

#[tokio::test]
async fn other_layouts_are_left_to_the_general_decoder() {
    let plain = WriterProperties::builder().set_dictionary_enabled(false);
    for properties in [
        plain.clone().set_writer_version(WriterVersion::PARQUET_2_0),
        plain.clone().set_encoding(Encoding::DELTA_BYTE_ARRAY),
        plain.clone().set_encoding(Encoding::DELTA_LENGTH_BYTE_ARRAY),
    ] {
        let world = World::new(&texts(true), true, properties);
        assert_eq!(world.directly(10..20).await.unwrap(), None);
        let blobs = Arc::clone(&world.blobs);
        assert_eq!(rows(blobs, FILE.into(), world.footer().await, 10..20).await.unwrap(), world.expected[10..20]);
    }
}

#[tokio::test]
async fn rows_of_very_different_lengths_come_whole() {
    // What comes before row 50 is nearly all of the page, and does not shrink.
    let noise = |i: usize, k: usize| blake3::hash(&[i.to_le_bytes(), k.to_le_bytes()].concat()).to_hex().to_string();
    let long = |i: usize| (0..3000).map(|k| noise(i, k)).collect::<String>();
    let texts: Vec<_> = (0..400).map(|i| Some(if i < 10 { long(i) } else { format!("short {i}") })).collect();
    for (name, properties) in layouts() {
        let world = World::new(&texts, false, properties);
        for rows in [0..3, 9..10, 50..60] {
            let expected = world.expected[rows.start as usize..rows.end as usize].to_vec();
            assert!(world.directly(rows.clone()).await.unwrap() == Some(expected), "{name}, rows {rows:?}");
        }
    }
}

/// As Hugging Face's datasets are written: one dictionary of all texts of a row group, however large.
#[tokio::test]
async fn a_file_of_pyarrows_is_read_directly() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pyarrow");
    let blobs: Arc<dyn Blobs> = Arc::new(FileBlobs::new(dir).unwrap());
    for file in ["snappy.parquet", "zstd.parquet"] {
        let bytes = blobs.len(file).await.unwrap();
        let footer = Arc::new(Footer::read(blobs.as_ref(), file, bytes, "text").await.unwrap());
        assert_eq!(footer.groups().collect::<Vec<_>>(), [150, 150, 100]);
        let text = |i: u64| if i % 9 == 4 { String::new() } else { format!("loaf {i} of {}. ", i * i).repeat(9) };
        for rows in [0..1, 140..310, 395..400] {
            let expected: Vec<_> = rows.clone().map(text).collect();
            let found = directly(blobs.as_ref(), file, &footer, &rows).await.unwrap();
            assert_eq!(found, Some(expected.clone()), "{file}");
            assert_eq!(generally(Arc::clone(&blobs), file.into(), Arc::clone(&footer), rows).await.unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn a_damaged_file_ends_in_a_fault_or_in_rows() {
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut refused = 0;
    for (_, properties) in layouts() {
        let world = World::new(&texts(true), true, properties);
        let footer = world.footer().await;
        let path = world.dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let end = footer.meta.row_groups().iter().map(|group| group.column(0).byte_range()).map(|(a, b)| a + b).max();
        for _ in 0..60 {
            let mut torn = whole.clone();
            for _ in 0..=random(4) {
                torn[random(end.unwrap() as usize)] = random(256) as u8;
            }
            std::fs::write(&path, torn).unwrap();
            match directly(world.blobs.as_ref(), FILE, &footer, &(0..500)).await {
                Ok(Some(rows)) => assert_eq!(rows.len(), ROWS),
                Ok(None) => {}
                Err(PagesError::Page { fault, .. }) => {
                    assert!([Fault::BadParquet, Fault::TooLarge].contains(&fault), "{fault:?}");
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(refused > 300, "{refused} of 1620 were told");
}

#[test]
fn a_dictionary_does_not_multiply() {
    // A dictionary of one text of a thousand bytes, and a page that names it a hundred times in four bytes.
    let dictionary = b"\x15\x04\x15\xd8\x0f\x15\xd8\x0f\x4c\x15\x02\x15\x00\x00\x00";
    let text = [&1000_u32.to_le_bytes()[..], &[b'x'; 1000]].concat();
    let page = b"\x15\x00\x15\x08\x15\x08\x2c\x15\xc8\x01\x15\x10\x15\x06\x15\x06\x00\x00\x01\xc8\x01\x00";
    let bytes = [dictionary, &text[..], page].concat();
    let read = |max_bytes| {
        let mut texts = Texts::new(max_bytes);
        let chunk = Chunk { bytes: &bytes, compression: Compression::UNCOMPRESSED, optional: false };
        texts.add(chunk, 0..100).map(|()| texts.into_found())
    };
    assert_eq!(read(100_000), Ok(vec!["x".repeat(1000); 100]));
    assert_eq!(read(99_999), Err(Trouble::TooLarge));
}
