//! Where a model computes. A device that was asked for and cannot be used is an error that says why, never another device.
//!
//! One program serves both kinds: libtorch's CUDA half is loaded when CUDA is asked for, from beside the libtorch in use or
//! from where the system's loader looks (`LD_LIBRARY_PATH`).

use tch::{Cuda, Device};

use crate::error::ModelError;
use crate::kernels;

/// libtorch's CUDA half.
const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Reads `cpu`, `cuda` (the first) or `cuda:N`, and checks that it can be used.
pub fn parse(text: &str) -> Result<Device, ModelError> {
    let refuse = |why: String| Err(ModelError::Device { device: text.into(), why });
    let index = match text {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => Some(0),
        other => other.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok()),
    };
    let Some(index) = index else {
        return refuse("not a device: take `cpu`, `cuda` or `cuda:N`".into());
    };
    if let Err(why) = kernels::load_library(CUDA_LIBRARY) {
        return refuse(format!(
            "libtorch's CUDA half cannot be loaded ({why}): run `scripts/setup.sh --cuda` and build again, or put a CUDA \
             libtorch of the same version into LD_LIBRARY_PATH"
        ));
    }
    let count = match kernels::cuda_count() {
        Ok(count) => count,
        Err(why) => {
            return refuse(format!(
                "CUDA says `{why}`: see whether `nvidia-smi` lists a device, whether its driver knows CUDA 13, and whether \
                 this container was given the device"
            ));
        }
    };
    if index >= count {
        return refuse(format!("{count} CUDA devices answer, counted from 0: see CUDA_VISIBLE_DEVICES"));
    }
    if !Cuda::is_available() {
        return refuse(format!(
            "{count} CUDA devices answer, but this libtorch cannot use them: take one made for CUDA"
        ));
    }
    Ok(Device::Cuda(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_what_was_asked_for_or_an_error() {
        assert_eq!(parse("cpu").unwrap(), Device::Cpu);
        for bad in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA"] {
            assert!(parse(bad).unwrap_err().to_string().contains("take `cpu`"), "{bad}");
        }
        assert!(parse("cuda:4096").is_err());
        match parse("cuda") {
            Ok(device) => assert_eq!(device, Device::Cuda(0)),
            Err(error) => {
                let why = error.to_string();
                assert!(why.contains("setup.sh --cuda") || why.contains("nvidia-smi"), "{why}");
            }
        }
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let why = kernels::load_library("libnowhere.so").unwrap_err();
        assert!(why.contains("libnowhere.so"), "{why}");
    }
}
