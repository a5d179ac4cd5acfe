// Vectors of one number for each of several sequences ("lanes"), in the compiler's vector extension (GCC and Clang).
//
// Nothing here may come from the C++ standard library: this file is compiled once for every SIMD width into one shared
// library, and an inline function of the library would be merged across them, wide instructions included.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef FW_VARIANT
#error "FW_VARIANT names the namespace of this build: baseline, avx2 or avx512"
#endif
#ifndef FW_BYTES
#error "FW_BYTES is the width of a vector in bytes: 16, 32 or 64"
#endif

namespace fw {
namespace FW_VARIANT {

template <class T> struct Simd;
template <> struct Simd<float> {
    typedef float Vec __attribute__((vector_size(FW_BYTES)));
    typedef int32_t Int __attribute__((vector_size(FW_BYTES)));
};
template <> struct Simd<double> {
    typedef double Vec __attribute__((vector_size(FW_BYTES)));
    typedef int64_t Int __attribute__((vector_size(FW_BYTES)));
};

template <class T> using Vec = typename Simd<T>::Vec;
template <class T> using Int = typename Simd<T>::Int;
template <class T> constexpr int kLanes = FW_BYTES / sizeof(T);

template <class T> inline Vec<T> splat(T value) { return value - Vec<T>{}; }

// `mask` has all bits of a lane set or none, as comparisons of vectors give it.
template <class T> inline Vec<T> select(Int<T> mask, Vec<T> yes, Vec<T> no) { return mask ? yes : no; }

template <class T> inline Vec<T> relu(Vec<T> x) { return x < Vec<T>{} ? Vec<T>{} : x; }  // keeps NaN, as torch.relu does

template <class T> inline Vec<T> square_root(Vec<T> x) {
    Vec<T> root = x;
    for (int lane = 0; lane < kLanes<T>; ++lane)
        root[lane] = sizeof(T) == 4 ? __builtin_sqrtf(x[lane]) : __builtin_sqrt(x[lane]);
    return root;
}

// e^x by Cody and Waite's reduction x = n ln 2 + r, |r| ≤ ln 2 / 2, and the Taylor series of e^r, whose remainder after
// the last term below is under half a unit in the last place. NaN stays NaN.
inline Vec<float> exponential(Vec<float> x) {
    x = x > splat(88.0f) ? splat(88.0f) : x;
    x = x < splat(-87.0f) ? splat(-87.0f) : x;
    const Vec<float> shifted = x * 1.44269504f + 12582912.0f;  // 1.5·2²³: the sum's low bits are the nearest integer
    const Vec<float> n = shifted - 12582912.0f;
    const Vec<float> r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    constexpr float kInverseFactorials[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    Vec<float> p = splat(1.0f / 5040);
    for (float term : kInverseFactorials) p = p * r + term;
    return (Vec<float>)((Int<float>)p + ((Int<float>)shifted << 23));
}

inline Vec<double> exponential(Vec<double> x) {
    x = x > splat(709.0) ? splat(709.0) : x;
    x = x < splat(-708.0) ? splat(-708.0) : x;
    const Vec<double> shifted = x * 1.4426950408889634 + 6755399441055744.0;  // 1.5·2⁵²
    const Vec<double> n = shifted - 6755399441055744.0;
    const Vec<double> r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    constexpr double kInverseFactorials[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                                             1.0 / 5040,      1.0 / 720,      1.0 / 120,     1.0 / 24,     1.0 / 6,
                                             0.5,             1.0,            1.0};
    Vec<double> p = splat(1.0 / 6227020800.0);
    for (double term : kInverseFactorials) p = p * r + term;
    return (Vec<double>)((Int<double>)p + ((Int<double>)shifted << 52));
}

template <class T> inline Vec<T> sigmoid(Vec<T> x) { return T(1) / (T(1) + exponential(-x)); }

// Near zero 2σ(2x) − 1 loses what x has to cancellation; there the Taylor series to x¹¹ is exact to rounding.
template <class T> inline Vec<T> hyperbolic_tangent(Vec<T> x) {
    constexpr T kSmall = sizeof(T) == 4 ? T(0.25) : T(0.03);
    constexpr T kSeries[] = {T(62.0 / 2835), T(-17.0 / 315), T(2.0 / 15), T(-1.0 / 3), T(1)};
    const Vec<T> square = x * x;
    Vec<T> p = splat(T(-1382.0 / 155925));
    for (T term : kSeries) p = p * square + term;
    return square < splat(kSmall * kSmall) ? x * p : T(2) * sigmoid<T>(T(2) * x) - T(1);
}

}  // namespace FW_VARIANT
}  // namespace fw
