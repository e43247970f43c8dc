//! Where a model computes. A device that was asked for and cannot be used is an error that says why, never another device.

use tch::{Cuda, Device};

use crate::error::ModelError;

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
    if !tch::utils::has_cuda() && !tch::utils::has_cudart() {
        return refuse(
            "the libtorch in use computes on the CPU only: run `scripts/setup.sh --cuda` and build again, or take `cpu`".into(),
        );
    }
    let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if count == 0 {
        return refuse(
            "no CUDA device answers: see whether `nvidia-smi` lists one and its driver knows CUDA 13".into(),
        );
    }
    if index >= count {
        return refuse(format!("there are {count} CUDA devices, counted from 0"));
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
        if !tch::Cuda::is_available() {
            let why = parse("cuda").unwrap_err().to_string();
            assert!(why.contains("setup.sh --cuda") || why.contains("nvidia-smi"), "{why}");
        }
    }
}
