// Which SIMD widths this processor can run.
#include <cstdint>

#include "abi.h"

// Bit 0: the baseline of the architecture; bit 1: AVX2 with FMA; bit 2: AVX-512 F, DQ, VL.
extern "C" __attribute__((visibility("default"))) int64_t fw_supported() {
    int64_t bits = 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) bits |= 2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        bits |= 4;
#endif
    return bits;
}

// The interface's number and the sizes of its structures, 16 bits each, for Python to compare with its own.
extern "C" __attribute__((visibility("default"))) int64_t fw_interface() {
    return int64_t(FW_INTERFACE) << 48 | int64_t(sizeof(FastWeightsCall)) << 32 | int64_t(sizeof(LSTMCall)) << 16 |
           int64_t(sizeof(AssociativeLSTMCall));
}
