// Devices and their memory, as far as tch does not say.
#include "guard.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>

extern "C" {

// Loads a library so that its symbols and registrations serve the whole process.
char* bistro_load_library(const char* name) {
    if (dlopen(name, RTLD_NOW | RTLD_GLOBAL) != nullptr) return nullptr;
    const char* why = dlerror();
    return strdup(why != nullptr ? why : "dlopen failed without a reason");
}

// How many devices the CUDA runtime finds, and else its own words.
char* bistro_cuda_count(int* count) {
    const auto ask = reinterpret_cast<int (*)(int*)>(dlsym(RTLD_DEFAULT, "cudaGetDeviceCount"));
    const auto words = reinterpret_cast<const char* (*)(int)>(dlsym(RTLD_DEFAULT, "cudaGetErrorString"));
    *count = 0;
    if (ask == nullptr || words == nullptr) return strdup("no CUDA runtime (libcudart) is loaded");
    const int status = ask(count);
    return status == 0 ? nullptr : strdup(words(status));
}

// Bytes free and bytes in all on a CUDA device.
char* bistro_cuda_memory(int device, uint64_t* free_bytes, uint64_t* total_bytes) {
    const auto choose = reinterpret_cast<int (*)(int)>(dlsym(RTLD_DEFAULT, "cudaSetDevice"));
    const auto ask = reinterpret_cast<int (*)(size_t*, size_t*)>(dlsym(RTLD_DEFAULT, "cudaMemGetInfo"));
    if (choose == nullptr || ask == nullptr) return strdup("no CUDA runtime (libcudart) is loaded");
    size_t available = 0, all = 0;
    if (choose(device) != 0 || ask(&available, &all) != 0) return strdup("the CUDA runtime does not tell its free memory");
    *free_bytes = available;
    *total_bytes = all;
    return nullptr;
}

// Gives cached memory of CUDA devices back.
char* bistro_empty_cache() {
    return guarded([] {
        if (at::globalContext().hasCUDA()) c10::getDeviceAllocator(c10::DeviceType::CUDA)->emptyCache();
    });
}

// Lets CUDA's matrix products of f32 round their factors to TF32.
char* bistro_allow_tf32() {
    return guarded([] { at::globalContext().setFloat32MatmulPrecision("high"); });
}
}
