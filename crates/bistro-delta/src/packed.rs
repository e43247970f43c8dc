//! A miner's delta as it came: checked, and added to a master without its values ever standing in memory.

use std::collections::BTreeMap;

use bistro_core::params::{ModelSpec, Params};
use bistro_core::skip::Skip;

use crate::codec;
use crate::delta::{DeltaMeta, max_object_size};
use crate::error::DeltaError;
use crate::header::Header;
use crate::tensor::TensorBytes;

/// An object that passed every check of [`crate::decode_delta`]. It borrows the object's bytes: memory stays at the object,
/// the master, and whatever the sum goes into.
#[derive(Clone, Debug)]
pub struct Packed<'a> {
    tensors: BTreeMap<String, TensorBytes<'a>>,
}

impl<'a> Packed<'a> {
    /// Checks a stranger's object, in the order that [`crate::decode_delta`] states.
    pub fn read(object: &'a [u8], spec: &ModelSpec, meta: &DeltaMeta) -> Result<Self, Skip> {
        let max = max_object_size(spec, meta.encoding);
        if object.len() as u64 > max {
            return Err(DeltaError::TooLarge { size: object.len() as u64, max }.into());
        }
        let (header, data) = Header::read(object)?;
        meta.check(&header.metadata)?;
        Ok(Self { tensors: codec::open(&header, data, spec, meta.encoding)? })
    }

    /// The values: four bytes for each of the model's numbers.
    pub fn values(&self) -> Params {
        let mut params = Params::default();
        for (name, tensor) in &self.tensors {
            tensor.read_into(params.to_overwrite(name, tensor.shape()));
        }
        params
    }

    /// `master + scale · delta` into `out`, whose storage is kept where it fits: the same bits as
    /// [`Params::plus_scaled`] gives with [`Self::values`].
    ///
    /// # Panics
    /// If `master` is another model's than the one the object was checked for.
    pub fn add_into(&self, master: &Params, scale: f32, out: &mut Params) {
        out.tensors.retain(|name, _| self.tensors.contains_key(name));
        for (name, tensor) in &self.tensors {
            let base = &master.tensors[name];
            assert!(base.shape == tensor.shape(), "tensor `{name}` has another shape than the delta was checked for");
            tensor.add_into(&base.data, scale, out.to_overwrite(name, tensor.shape()));
        }
    }
}
