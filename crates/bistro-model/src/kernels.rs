//! The C++ beside this crate (`csrc`): a block's operations fused for the CPU, libtorch's fused AdamW, and what tch does not
//! say about devices. Each function here checks what the other side relies on.
#![allow(unsafe_code)] // calls into `csrc`: pointers to live tensors and slices, whose sizes are checked on both sides

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use tch::{Kind, TchError, Tensor};

type Raw = *mut c_void;
type Message = *mut c_char;

unsafe extern "C" {
    fn bistro_rms_norm(out: *mut Raw, x: *const c_void, w: *const c_void, eps: f64) -> Message;
    fn bistro_add_norm(
        sum: *mut Raw,
        norm: *mut Raw,
        x: *const c_void,
        a: *const c_void,
        w: *const c_void,
        eps: f64,
    ) -> Message;
    fn bistro_swiglu(out: *mut Raw, x: *const c_void) -> Message;
    fn bistro_attention(
        out: *mut Raw,
        qkv: *const c_void,
        cos: *const c_void,
        sin: *const c_void,
        heads: i64,
        keys: i64,
    ) -> Message;
    fn bistro_cross_entropy(logits: Raw, targets: *const c_void, gradient: bool, sum: *mut f64) -> Message;
    fn bistro_sum(weight: Raw, base: *const f32, delta: *const f32, n: i64, scale: f32) -> Message;
    fn bistro_load(weight: Raw, values: *const f32, n: i64) -> Message;
    fn bistro_adamw(
        weights: *mut Raw,
        grads: *mut Raw,
        means: *mut Raw,
        squares: *mut Raw,
        n: i64,
        step: *const c_void,
        divisor: *const c_void,
        lr: f64,
        beta1: f64,
        beta2: f64,
        decay: f64,
        eps: f64,
    ) -> Message;
    fn bistro_load_library(name: *const c_char) -> Message;
    fn bistro_cuda_count(count: *mut c_int) -> Message;
    fn bistro_cuda_memory(device: c_int, free: *mut u64, total: *mut u64) -> Message;
    fn bistro_empty_cache() -> Message;
    fn bistro_allow_tf32() -> Message;
    fn free(message: *mut c_void);
}

/// The message of a call that failed.
fn outcome(message: Message) -> Result<(), String> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message is a C string from `strdup` that nobody else holds.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        free(message.cast());
        Err(text)
    }
}

fn torch(message: Message) -> Result<(), TchError> {
    outcome(message).map_err(TchError::Torch)
}

fn raw(tensor: &Tensor) -> Raw {
    tensor.as_ptr().cast_mut().cast()
}

/// The tensor that `call` makes.
fn made(call: impl FnOnce(*mut Raw) -> Message) -> Result<Tensor, TchError> {
    let mut out: Raw = std::ptr::null_mut();
    torch(call(&raw mut out))?;
    // SAFETY: without an error, `out` is a new `at::Tensor` that belongs to us.
    Ok(unsafe { Tensor::from_ptr(out.cast()) })
}

/// `x / sqrt(mean(x²) + eps) · w` over the last side.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor, TchError> {
    // SAFETY: both tensors live through the call.
    made(|out| unsafe { bistro_rms_norm(out, raw(x), raw(w), eps) })
}

/// `x + a`, and its [`rms_norm`].
pub fn add_norm(x: &Tensor, a: &Tensor, w: &Tensor, eps: f64) -> Result<(Tensor, Tensor), TchError> {
    let mut norm: Raw = std::ptr::null_mut();
    // SAFETY: all tensors live through the call.
    let sum = made(|out| unsafe { bistro_add_norm(out, &raw mut norm, raw(x), raw(a), raw(w), eps) })?;
    // SAFETY: without an error, `norm` is a new `at::Tensor` that belongs to us.
    Ok((sum, unsafe { Tensor::from_ptr(norm.cast()) }))
}

/// `silu(gate) · up` of `[.., 2 F]`, which holds gate and then up → `[.., F]`.
pub fn swiglu(gate_up: &Tensor) -> Result<Tensor, TchError> {
    // SAFETY: the tensor lives through the call.
    made(|out| unsafe { bistro_swiglu(out, raw(gate_up)) })
}

/// Causal attention with rotary positions. `qkv` `[B, T, (N + 2 K)·D]` holds N query heads, K key heads and the K values; cosine
/// and sine of the angles are `[T, D/2]` → `[B, T, N·D]`.
pub fn attention(qkv: &Tensor, cos: &Tensor, sin: &Tensor, heads: i64, keys: i64) -> Result<Tensor, TchError> {
    // SAFETY: all tensors live through the call; their sizes are checked there.
    made(|out| unsafe { bistro_attention(out, raw(qkv), raw(cos), raw(sin), heads, keys) })
}

/// Sum of the cross-entropy of `logits` `[n, V]` (contiguous f32 on the CPU) against `targets` `[n]`, each within V. With
/// `gradient` the logits become the sum's gradient to them.
pub fn cross_entropy(logits: &mut Tensor, targets: &Tensor, gradient: bool) -> Result<f64, TchError> {
    let refuse = |why: &str| Err(TchError::Shape(why.into()));
    let (n, v) = logits.size2()?;
    if logits.kind() != Kind::Float || logits.device() != tch::Device::Cpu || !logits.is_contiguous() {
        return refuse("logits must be contiguous f32 on the CPU");
    }
    let targets = targets.f_contiguous()?;
    if targets.size() != [n] || targets.kind() != Kind::Int64 || targets.device() != tch::Device::Cpu {
        return refuse("there must be one target for each row of the logits");
    }
    if n > 0 && (targets.f_min()?.f_int64_value(&[])? < 0 || targets.f_max()?.f_int64_value(&[])? >= v) {
        return refuse("a target is not of the vocabulary");
    }
    let mut sum = 0.0;
    // SAFETY: sizes, kinds and the targets' range were just checked.
    torch(unsafe { bistro_cross_entropy(raw(logits), raw(&targets), gradient, &raw mut sum) })?;
    Ok(sum)
}

/// `weight = base + delta · scale`, for a weight on the CPU, with the bits of [`bistro_core::params::Params::plus_scaled`].
pub fn sum(weight: &mut Tensor, base: &[f32], delta: &[f32], scale: f32) -> Result<(), TchError> {
    if base.len() != delta.len() {
        return Err(TchError::Shape(format!("a base of {} values, a delta of {}", base.len(), delta.len())));
    }
    // SAFETY: both slices have the length that is handed over; the weight's own is compared with it there.
    torch(unsafe { bistro_sum(raw(weight), base.as_ptr(), delta.as_ptr(), base.len() as i64, scale) })
}

/// Copies `values` into `weight`, on whatever device it is, bit for bit.
pub fn load(weight: &mut Tensor, values: &[f32]) -> Result<(), TchError> {
    // SAFETY: the slice has the length that is handed over; the weight's own is compared with it there.
    torch(unsafe { bistro_load(raw(weight), values.as_ptr(), values.len() as i64) })
}

/// The numbers of one fused AdamW step.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean.
    pub beta1: f64,
    /// Decay of the mean square.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub decay: f64,
    /// Added to the root.
    pub eps: f64,
}

/// Tensors of one weight each: the weight, its gradient (divided in place), first and second moment.
pub type Quad<'a> = (&'a Tensor, &'a Tensor, &'a Tensor, &'a Tensor);

/// One step for all `tensors` in one call. `step` (counted from 1) and `divisor` (of the gradients) are f32 scalars on their
/// device.
pub fn adamw(tensors: &[Quad], step: &Tensor, divisor: &Tensor, rates: AdamWStep) -> Result<(), TchError> {
    let list = |pick: fn(&Quad) -> Raw| tensors.iter().map(pick).collect::<Vec<Raw>>();
    let (mut weights, mut grads) = (list(|q| raw(q.0)), list(|q| raw(q.1)));
    let (mut means, mut squares) = (list(|q| raw(q.2)), list(|q| raw(q.3)));
    let AdamWStep { lr, beta1, beta2, decay, eps } = rates;
    // SAFETY: four lists of the same length, of tensors that live through the call.
    torch(unsafe {
        bistro_adamw(
            weights.as_mut_ptr(),
            grads.as_mut_ptr(),
            means.as_mut_ptr(),
            squares.as_mut_ptr(),
            tensors.len() as i64,
            raw(step),
            raw(divisor),
            lr,
            beta1,
            beta2,
            decay,
            eps,
        )
    })
}

/// Loads a shared library for the whole process.
pub fn load_library(name: &str) -> Result<(), String> {
    let name = CString::new(name).map_err(|e| e.to_string())?;
    // SAFETY: a C string; what the library's constructors do is libtorch's own start-up.
    outcome(unsafe { bistro_load_library(name.as_ptr()) })
}

/// How many CUDA devices there are, or the CUDA runtime's own words.
pub fn cuda_count() -> Result<usize, String> {
    let mut count = 0;
    // SAFETY: one integer to write to.
    outcome(unsafe { bistro_cuda_count(&raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Bytes (free, in all) of a CUDA device.
pub fn cuda_memory(device: usize) -> Result<(u64, u64), String> {
    let (mut free_bytes, mut total) = (0, 0);
    let device = c_int::try_from(device).map_err(|e| e.to_string())?;
    // SAFETY: two integers to write to.
    outcome(unsafe { bistro_cuda_memory(device, &raw mut free_bytes, &raw mut total) })?;
    Ok((free_bytes, total))
}

/// Gives CUDA's kept memory back.
pub fn empty_cache() {
    // SAFETY: no arguments. A failure leaves the cache as it was.
    let _ = outcome(unsafe { bistro_empty_cache() });
}

/// Lets CUDA's f32 matrix products round their factors to TF32, for the whole process.
pub fn allow_tf32() -> Result<(), TchError> {
    // SAFETY: no arguments.
    torch(unsafe { bistro_allow_tf32() })
}
