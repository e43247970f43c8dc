//! glibc gives every thread a heap of its own to allocate from (an *arena*), up to eight a core, and each keeps what was freed
//! in it for later. Tensors of up to 32 MiB come from there, in libtorch as well as here, so that each thread that ever handled
//! a delta holds some of them. Two arenas for all: the demo's validator stays at 0.55 GB, where it grew to 0.88 in five
//! minutes, and the miner at 0.60 instead of 0.83; training and evaluation are as fast. (Giving each large tensor back to the
//! system, `M_MMAP_THRESHOLD`, saves the same and costs 5 to 15 % of the speed.)

/// Arenas for all threads together.
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 2;

/// Limits the arenas that are made from now on; to be called before there are threads. glibc's own variable
/// `MALLOC_ARENA_MAX` goes before, and elsewhere than with glibc this does nothing.
pub fn share() {
    #[cfg(target_env = "gnu")]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        #[expect(unsafe_code, reason = "a call into C with two numbers; it takes glibc's own lock")]
        // Where it refuses, memory is as it would be without.
        let _taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    /// Arenas but the first lie at multiples of 64 MiB.
    fn arenas() -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let begin = |line: &str| u64::from_str_radix(line.split('-').next()?, 16).ok();
        maps.lines()
            .filter(|line| line.contains(" rw-p 00000000 00:00 0"))
            .filter_map(begin)
            .filter(|at| at % (64 << 20) == 0)
            .count()
    }

    #[test]
    fn threads_share_few_arenas() {
        let allocate_at_once = || {
            let all = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let some = std::hint::black_box(vec![1_u8; 5000]);
                        all.wait();
                        some
                    });
                }
            });
        };
        share();
        let before = arenas();
        allocate_at_once();
        assert!(arenas() <= before.max(ARENAS as usize - 1), "{before} -> {}", arenas());
    }
}
