//! `fine` and `coarse`: a matrix as a few products of a column and a row, and what is left in equal steps, entropy-coded.
//!
//! Bytes of a tensor of `rows · columns` values (the last side, and all others), numbers little-endian:
//!
//! | | |
//! |---|---|
//! | u8 | number of products, at most 4 |
//! | 4 × f32 | value of one step, of two, and of `n` from three on: `n · third - fourth` |
//! | for each product: f32, `columns` × i8 | its scale and its row |
//! | u32 for each stripe | bytes of that stripe |
//! | stripes | each as many rows as make 2^20 values, at least one: for each row its i8 factor of each product, and its steps ([`symbols`]) |
//!
//! A value is `((((0 + f₀·r₀) + f₁·r₁) …) + steps`, with `f` the row's factor times the product's scale: each multiplication
//! and addition rounded to f32, so that every machine reads the same bits. A stripe can hold any bytes: see [`range`].

mod range;
mod rank;
mod symbols;

use bistro_core::protocol::Encoding;
use rayon::prelude::*;

use range::{Reader, Writer};
use rank::{Product, energy};
use symbols::{MAX_STEPS, Symbols};

/// Products at most.
const MAX_RANK: usize = 4;
/// Values of a stripe, about.
const STRIPE: usize = 1 << 20;
/// Numbers in front are at most this, so that no value can become infinite.
const MAX_NUMBER: f32 = 1e30;
/// Steps on either side of zero of a product's column: five bits.
const COLUMN_LEVELS: f32 = 15.0;

/// What distinguishes `fine` from `coarse`: only the writer's choices, and how long an object can be.
struct Profile {
    /// Of the tables of tokens: most of a small model's values, most of which hardly matter.
    table: Steps,
    /// Of the other matrices.
    matrix: Steps,
    /// Length of a step of what is no matrix: few values, and each matters.
    vector_step: f32,
    /// Longest residual, bits a value.
    max_bits: usize,
}

/// The writer's choices for one matrix.
struct Steps {
    /// Length of a step, in root mean squares of what the products leave.
    step: f32,
    /// A product is kept if what it takes away would cost more than so many bits a row in steps of the same fineness.
    product_bits: f64,
}

fn profile(encoding: Encoding) -> Profile {
    match encoding {
        Encoding::Coarse => Profile {
            table: Steps { step: 6.0, product_bits: 10.0 },
            matrix: Steps { step: 3.0, product_bits: 5.0 },
            vector_step: 0.5,
            max_bits: 2,
        },
        _ => Profile {
            table: Steps { step: 1.6, product_bits: 20.0 },
            matrix: Steps { step: 1.4, product_bits: 5.0 },
            vector_step: 0.25,
            max_bits: 4,
        },
    }
}

/// Rows for each column from which on a matrix is taken for a table of tokens.
const TALL: usize = 8;

/// Rows and columns of a tensor.
fn sides(shape: &[usize]) -> (usize, usize) {
    let columns = shape.last().copied().unwrap_or(1);
    let values: usize = shape.iter().product();
    (values.checked_div(columns).unwrap_or(0), columns)
}

/// Rows of a stripe.
fn stripe_rows(columns: usize) -> usize {
    (STRIPE / columns.max(1)).max(1)
}

/// The longest that a tensor's bytes can be.
pub(crate) fn max_bytes(encoding: Encoding, shape: &[usize]) -> usize {
    let (rows, columns) = sides(shape);
    let stripes = rows.div_ceil(stripe_rows(columns));
    17 + MAX_RANK * (4 + columns + 2 * rows)
        + 16 * stripes
        + 64
        + (rows * columns * profile(encoding).max_bits).div_ceil(8)
}

/// What is wrong with a tensor's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A number in front is NaN, infinite or beyond 1e30.
    NotFinite,
    /// Too short, too long, or too many products.
    Form(String),
}

/// A tensor's bytes, their form checked.
#[derive(Clone, Debug)]
pub(crate) struct Coded<'a> {
    columns: usize,
    rows: usize,
    /// Value of one step, of two, slope and offset from three on.
    levels: [f32; 4],
    /// Scale and row of each product.
    products: Vec<(f32, &'a [u8])>,
    stripes: Vec<&'a [u8]>,
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], Fault> {
    let (taken, rest) =
        bytes.split_at_checked(n).ok_or_else(|| Fault::Form(format!("{n} bytes more should follow")))?;
    *bytes = rest;
    Ok(taken)
}

fn number(bytes: &mut &[u8]) -> Result<f32, Fault> {
    let number = f32::from_le_bytes(*take(bytes, 4)?.first_chunk().ok_or(Fault::NotFinite)?);
    // Written so that NaN is refused.
    if number.abs() <= MAX_NUMBER { Ok(number) } else { Err(Fault::NotFinite) }
}

impl<'a> Coded<'a> {
    /// Reads what stands in front of the stripes. Allocates for each stripe, never more than the shape has.
    pub(crate) fn parse(mut bytes: &'a [u8], shape: &[usize]) -> Result<Self, Fault> {
        let (rows, columns) = sides(shape);
        let rank = usize::from(take(&mut bytes, 1)?[0]);
        if rank > MAX_RANK {
            return Err(Fault::Form(format!("{rank} products, at most {MAX_RANK} are read")));
        }
        let mut levels = [0.0; 4];
        for level in &mut levels {
            *level = number(&mut bytes)?;
        }
        let mut products = Vec::with_capacity(rank);
        for _ in 0..rank {
            products.push((number(&mut bytes)?, take(&mut bytes, columns)?));
        }
        let count = rows.div_ceil(stripe_rows(columns));
        let lengths = take(&mut bytes, 4 * count)?.as_chunks().0;
        let stripes = lengths.iter().map(|length| take(&mut bytes, u32::from_le_bytes(*length) as usize));
        let stripes = stripes.collect::<Result<_, _>>()?;
        if !bytes.is_empty() {
            return Err(Fault::Form(format!("{} bytes follow the last stripe", bytes.len())));
        }
        Ok(Self { columns, rows, levels, products, stripes })
    }

    /// Values of each stripe but the last.
    pub(crate) fn stripe_values(shape: &[usize]) -> usize {
        let (_, columns) = sides(shape);
        (stripe_rows(columns) * columns).max(1)
    }

    /// The rows of stripe `stripe`, one after another, each with the index of its first value in the stripe.
    pub(crate) fn stripe(&self, stripe: usize, mut each: impl FnMut(usize, &[f32])) {
        let rows = stripe_rows(self.columns).min(self.rows - stripe * stripe_rows(self.columns));
        let mut reader = Reader::new(self.stripes[stripe]);
        let mut symbols = Symbols::new(self.columns, self.products.len());
        let (mut steps, mut values) = (vec![0_i16; self.columns], vec![0.0_f32; self.columns]);
        for row in 0..rows {
            values.fill(0.0);
            for (component, (scale, factors)) in self.products.iter().enumerate() {
                let factor = f32::from(symbols.factor(&mut reader, component, 0)) * scale;
                for (value, other) in values.iter_mut().zip(*factors) {
                    *value += factor * f32::from(*other as i8);
                }
            }
            symbols.row(&mut reader, &mut steps);
            for (value, steps) in values.iter_mut().zip(&steps) {
                if *steps != 0 {
                    *value += level(&self.levels, *steps);
                }
            }
            each(row * self.columns, &values);
        }
    }
}

/// The value of so many steps.
fn level(levels: &[f32; 4], steps: i16) -> f32 {
    let size = match steps.unsigned_abs() {
        0 => 0.0,
        1 => levels[0],
        2 => levels[1],
        n => f32::from(n) * levels[2] - levels[3],
    };
    if steps < 0 { -size } else { size }
}

/// The bytes of a tensor: the same everywhere, and at most [`max_bytes`]. A value that is not finite makes the first number
/// NaN: it is for the reader to refuse.
pub(crate) fn encode(encoding: Encoding, shape: &[usize], values: &[f32]) -> Vec<u8> {
    let (rows, columns) = sides(shape);
    let profile = profile(encoding);
    let mut left = values.to_vec();
    let mut products = Vec::new();
    let matrix = rows >= 16 && columns >= 16;
    let Steps { step, product_bits } = if rows >= TALL * columns { profile.table } else { profile.matrix };
    let mut before = energy(&left);
    if !before.is_finite() {
        return assemble(&[f32::NAN; 4], &[], &vec![Vec::new(); rows.div_ceil(stripe_rows(columns))]);
    }
    let least = 1.0 - (-product_bits / columns as f64).exp2();
    while matrix && products.len() < MAX_RANK {
        let Some(product) = Product::nearest(&left, columns, COLUMN_LEVELS) else { break };
        let mut next = left.clone();
        product.take_out(&mut next);
        let after = energy(&next);
        if after > before * (1.0 - least) {
            break;
        }
        (left, before) = (next, after);
        products.push(product);
    }
    let rms = (before / left.len().max(1) as f64).sqrt() as f32;
    let mut step = rms * if matrix { step } else { profile.vector_step };
    loop {
        let bytes = encode_steps(&left, columns, step, &products);
        if bytes.len() <= max_bytes(encoding, shape) {
            return bytes;
        }
        step *= 2.0;
    }
}

fn encode_steps(left: &[f32], columns: usize, step: f32, products: &[Product]) -> Vec<u8> {
    let inverse = if step.is_normal() && (1.0 / step).is_finite() { 1.0 / step } else { 0.0 };
    let most = MAX_STEPS as f32;
    let steps: Vec<i16> = left.par_iter().map(|v| (v * inverse).round_ties_even().clamp(-most, most) as i16).collect();
    let rows = stripe_rows(columns);
    let stripe = |(index, steps): (usize, &[i16])| {
        let (mut writer, mut symbols) = (Writer::new(), Symbols::new(columns, products.len()));
        let mut row_steps = vec![0; columns];
        for (row, steps) in steps.chunks(columns).enumerate() {
            for (component, product) in products.iter().enumerate() {
                symbols.factor(&mut writer, component, product.column[index * rows + row]);
            }
            row_steps.copy_from_slice(steps);
            symbols.row(&mut writer, &mut row_steps);
        }
        writer.finish()
    };
    let stripes: Vec<Vec<u8>> =
        if steps.is_empty() { Vec::new() } else { steps.par_chunks(rows * columns).enumerate().map(stripe).collect() };
    assemble(&levels(left, &steps, step), products, &stripes)
}

/// The means of the values that take one step, two, and more: what errs least.
fn levels(left: &[f32], steps: &[i16], step: f32) -> [f32; 4] {
    const PART: usize = 1 << 14;
    let sums = |(values, steps): (&[f32], &[i16])| {
        let mut sums = [(0.0_f64, 0_u64); 3];
        for (value, steps) in values.iter().zip(steps) {
            let size = steps.unsigned_abs();
            if size > 0 {
                let (sum, count) = &mut sums[usize::from(size.min(3)) - 1];
                // From three steps on, what is missing to their full length.
                let beyond = if size >= 3 { f64::from(size) * f64::from(step) } else { 0.0 };
                *sum += f64::from(value.abs()) - beyond;
                *count += 1;
            }
        }
        sums
    };
    let parts: Vec<_> = left.par_chunks(PART).zip(steps.par_chunks(PART)).map(sums).collect();
    let mean = |i: usize, otherwise: f32| {
        let (sum, count) = parts.iter().fold((0.0, 0), |(sum, count), part| (sum + part[i].0, count + part[i].1));
        if count == 0 { otherwise } else { (sum / count as f64) as f32 }
    };
    [mean(0, step), mean(1, 2.0 * step), step, -mean(2, 0.0)]
}

fn assemble(levels: &[f32; 4], products: &[Product], stripes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![products.len() as u8];
    bytes.extend(levels.iter().flat_map(|level| level.to_le_bytes()));
    for product in products {
        bytes.extend(product.scale.to_le_bytes());
        bytes.extend(product.row.iter().map(|v| *v as u8));
    }
    bytes.extend(stripes.iter().flat_map(|stripe| (stripe.len() as u32).to_le_bytes()));
    bytes.extend(stripes.iter().flatten());
    bytes
}
