// Memory of large tensors on a CPU, kept when they are freed: a step's tensors are those of the step before, and the C library would
// give their pages back and let the kernel clear new ones, for a twentieth of the time of training.
#include "guard.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>

namespace {

constexpr size_t LEAST = 256 << 10; // smaller ones are the C library's
constexpr size_t STEP = 64 << 10;   // sizes are multiples of it

class Keeper final : public c10::Allocator {
  public:
    static Keeper& instance() {
        static Keeper* keeper = new Keeper; // tensors may outlive every other object
        return *keeper;
    }

    c10::DataPtr allocate(size_t n) override {
        void* block = n == 0 ? nullptr : n < LEAST ? fresh(n) : take((n + STEP - 1) / STEP * STEP);
        TORCH_CHECK(block != nullptr || n == 0, "can't allocate memory: ", n, " bytes for a tensor");
        return {block, block, &give, c10::DeviceType::CPU};
    }

    // Every block is given back the same way: oneDNN's products in bf16 ask for memory without its owner.
    c10::DeleterFnPtr raw_deleter() const override { return &give; }

    void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }

    // Gives back all that nobody uses.
    void release() {
        const std::lock_guard<std::mutex> lock(mutex);
        shrink(0);
    }

  private:
    std::mutex mutex;
    std::unordered_map<void*, size_t> sizes; // of blocks in use
    std::multimap<size_t, void*> kept;
    size_t used = 0, idle = 0, most = 0; // bytes in use, bytes kept, and the most that ever were in use

    void* take(size_t size) {
        const std::lock_guard<std::mutex> lock(mutex);
        void* block = nullptr;
        if (const auto found = kept.find(size); found != kept.end()) {
            block = found->second;
            kept.erase(found);
            idle -= size;
        } else if (!(block = fresh(size))) {
            shrink(0);
            if (!(block = fresh(size))) return nullptr;
        }
        sizes.emplace(block, size);
        used += size;
        most = std::max(most, used);
        // Sizes that are no longer asked for go; those of one step have their most in use at different times.
        const size_t bound = most + most / 4;
        shrink(bound > used ? bound - used : 0);
        return block;
    }

    static void* fresh(size_t size) {
        void* block = nullptr;
        return posix_memalign(&block, 64, size) == 0 ? block : nullptr;
    }

    // Frees kept blocks, the largest first, until at most `bound` bytes of them are left.
    void shrink(size_t bound) {
        while (idle > bound && !kept.empty()) {
            const auto largest = std::prev(kept.end());
            idle -= largest->first;
            std::free(largest->second);
            kept.erase(largest);
        }
    }

    void put(void* block) {
        const std::lock_guard<std::mutex> lock(mutex);
        const auto found = sizes.find(block);
        if (found == sizes.end()) { // a small one
            std::free(block);
            return;
        }
        used -= found->second;
        idle += found->second;
        kept.emplace(found->second, block);
        sizes.erase(found);
    }

    static void give(void* block) { instance().put(block); }
};

} // namespace

extern "C" {

// From now on, large tensors on the CPU have kept memory.
char* bistro_keep_memory() {
    return guarded([] { c10::SetCPUAllocator(&Keeper::instance(), 1); });
}

// Gives back what is kept and not in use.
void bistro_release_memory() { Keeper::instance().release(); }
}
