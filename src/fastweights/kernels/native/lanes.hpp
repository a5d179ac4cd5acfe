// Linear algebra on lanes: every number is a vector that holds it for kLanes sequences; weights are shared scalars.
#pragma once

#include "simd.hpp"

namespace fw {
namespace FW_VARIANT {

// Rows of a product that are accumulated in registers at once.
constexpr int kTile = 8;

// One of a group of up to kLanes sequences, strided as torch has them.
template <class T> struct Rows {
    const T* first;    // of the first sequence
    int64_t stride;    // from one sequence to the next
    int count;         // sequences in the group, ≤ kLanes
};

// In-register transpose of a square of kLanes vectors (Eklundh's): in log₂ steps, blocks swap across the diagonal.
template <class T, int Step> inline void transpose_blocks(Vec<T>* square) {
    constexpr int L = kLanes<T>;
    Int<T> low, high;
    for (int lane = 0; lane < L; ++lane) {
        low[lane] = lane & Step ? L + lane - Step : lane;
        high[lane] = lane & Step ? L + lane : lane + Step;
    }
    for (int row = 0; row < L; ++row) {
        if (row & Step) continue;
        const Vec<T> a = square[row], b = square[row + Step];
#if defined(__clang__)
        Vec<T> x, y;
        for (int lane = 0; lane < L; ++lane) {
            x[lane] = lane & Step ? b[lane - Step] : a[lane];
            y[lane] = lane & Step ? b[lane] : a[lane + Step];
        }
        square[row] = x;
        square[row + Step] = y;
#else
        square[row] = __builtin_shuffle(a, b, low);
        square[row + Step] = __builtin_shuffle(a, b, high);
#endif
    }
    if constexpr (Step > 1) transpose_blocks<T, Step / 2>(square);
}

// Where the next square of columns begins after the one at `column`. The last overlaps the one before it when kLanes does
// not divide `width`: moving the same numbers twice is cheaper than moving a remainder one by one.
template <class T> inline int64_t next_square(int64_t column, int64_t width) {
    const int64_t next = column + kLanes<T>, last = width - kLanes<T>;
    return column < last && next > last ? last : next;
}

// `width` numbers of each row of the group → `width` vectors; lanes without a sequence become zero.
template <class T> inline void gather(Rows<T> rows, int64_t width, Vec<T>* lanes) {
    constexpr int L = kLanes<T>;
    if (width >= L) {
        for (int64_t column = 0; column < width; column = next_square<T>(column, width)) {
            for (int row = 0; row < L; ++row) {
                lanes[column + row] = Vec<T>{};
                if (row < rows.count)
                    __builtin_memcpy(&lanes[column + row], rows.first + row * rows.stride + column, sizeof(Vec<T>));
            }
            transpose_blocks<T, L / 2>(lanes + column);
        }
        return;
    }
    for (int64_t column = 0; column < width; ++column) {
        Vec<T> value{};
        for (int row = 0; row < rows.count; ++row) value[row] = rows.first[row * rows.stride + column];
        lanes[column] = value;
    }
}

// The inverse of gather: `first` and `stride` as in Rows, but written.
template <class T> inline void scatter(const Vec<T>* lanes, int64_t width, T* first, int64_t stride, int count) {
    constexpr int L = kLanes<T>;
    if (width >= L) {
        Vec<T> square[L];
        for (int64_t column = 0; column < width; column = next_square<T>(column, width)) {
            for (int row = 0; row < L; ++row) square[row] = lanes[column + row];
            transpose_blocks<T, L / 2>(square);
            for (int row = 0; row < count; ++row)
                __builtin_memcpy(first + row * stride + column, &square[row], sizeof(Vec<T>));
        }
        return;
    }
    for (int64_t column = 0; column < width; ++column)
        for (int row = 0; row < count; ++row) first[row * stride + column] = lanes[column][row];
}

template <class T> inline T sum_of_lanes(Vec<T> x) {
    T sum = 0;
    for (int lane = 0; lane < kLanes<T>; ++lane) sum += x[lane];
    return sum;
}

// Σ term(i) over i < size, in four chains that hide the latency of an addition.
template <class T, class Term> inline Vec<T> sum_over(int64_t size, Term term) {
    Vec<T> sum[4] = {};
    int64_t i = 0;
    for (; i + 4 <= size; i += 4)
        for (int chain = 0; chain < 4; ++chain) sum[chain] += term(i + chain);
    for (; i < size; ++i) sum[0] += term(i);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <class T> inline Vec<T> dot(const Vec<T>* a, const Vec<T>* b, int64_t size) {
    return sum_over<T>(size, [&](int64_t i) { return a[i] * b[i]; });
}

// A matrix of shared scalars in the order in which shared_product reads it, for one stream through memory instead of one for
// every row: bands of kTile rows, then of half as many where fewer are left, and so on, each column by column. Its entry (row,
// column) is M[row · down + column · right].
template <class T, int N = kTile>
inline void pack(const T* M, int64_t rows, int64_t columns, int64_t down, int64_t right, T* packed) {
    for (; rows >= N; rows -= N, M += N * down)
        for (int64_t k = 0; k < columns; ++k)
            for (int i = 0; i < N; ++i) *packed++ = M[i * down + k * right];
    if constexpr (N > 1)
        if (rows > 0) pack<T, N / 2>(M, rows, columns, down, right, packed);
}

// y[row] (+)= Σ_k M[row][k] x[k] for a band of N packed rows.
template <class T, int N, bool Add>
inline void shared_rows(const T* band, int64_t columns, const Vec<T>* x, Vec<T>* y) {
    Vec<T> sum[N];
    for (int i = 0; i < N; ++i) sum[i] = Add ? y[i] : Vec<T>{};
    for (int64_t k = 0; k < columns; ++k) {
        const Vec<T> value = x[k];
        for (int i = 0; i < N; ++i) sum[i] += band[k * N + i] * value;
    }
    for (int i = 0; i < N; ++i) y[i] = sum[i];
}

// y (+)= M x, M (rows, columns) packed.
template <class T, bool Add, int N = kTile>
inline void shared_product(const T* packed, int64_t rows, int64_t columns, const Vec<T>* x, Vec<T>* y) {
    for (; rows >= N; rows -= N, packed += N * columns, y += N) shared_rows<T, N, Add>(packed, columns, x, y);
    if constexpr (N > 1)
        if (rows > 0) shared_product<T, Add, N / 2>(packed, rows, columns, x, y);
}

// y += s · M x, M (size, size) of lanes.
template <class T> inline void add_product(const Vec<T>* M, int64_t size, const Vec<T>* x, T s, Vec<T>* y) {
    int64_t row = 0;
    for (; row + 4 <= size; row += 4) {
        const Vec<T>* m = M + row * size;
        Vec<T> sum[4] = {};
        for (int64_t k = 0; k < size; ++k)
            for (int i = 0; i < 4; ++i) sum[i] += m[i * size + k] * x[k];
        for (int i = 0; i < 4; ++i) y[row + i] += s * sum[i];
    }
    for (; row < size; ++row) y[row] += s * dot<T>(M + row * size, x, size);
}

// y += s · Mᵀ x, M (size, size) of lanes.
template <class T> inline void add_transposed_product(const Vec<T>* M, int64_t size, const Vec<T>* x, T s, Vec<T>* y) {
    int64_t row = 0;
    for (; row + 4 <= size; row += 4) {
        const Vec<T>* m = M + row * size;
        const Vec<T> x0 = s * x[row], x1 = s * x[row + 1], x2 = s * x[row + 2], x3 = s * x[row + 3];
        for (int64_t k = 0; k < size; ++k)
            y[k] += (m[k] * x0 + m[size + k] * x1) + (m[2 * size + k] * x2 + m[3 * size + k] * x3);
    }
    for (; row < size; ++row) {
        const Vec<T> x0 = s * x[row];
        for (int64_t k = 0; k < size; ++k) y[k] += M[row * size + k] * x0;
    }
}

// M[row..][column..] ← keep · M + Σ_n weight[n] a_n b_nᵀ for N rows and K columns.
template <class T, int N, int K>
inline void outer_tile(Vec<T>* M, int64_t row, int64_t column, int64_t size, Vec<T> keep, bool fresh,
                       const Vec<T>* weight, const Vec<T>* a, const Vec<T>* b, int64_t count) {
    Vec<T> sum[N][K] = {};
    for (int64_t n = 0; n < count; ++n) {
        Vec<T> left[N];
        for (int i = 0; i < N; ++i) left[i] = weight[n] * a[n * size + row + i];
        for (int j = 0; j < K; ++j)
            for (int i = 0; i < N; ++i) sum[i][j] += left[i] * b[n * size + column + j];
    }
    for (int i = 0; i < N; ++i)
        for (int j = 0; j < K; ++j) {
            Vec<T>& m = M[(row + i) * size + column + j];
            m = fresh ? sum[i][j] : keep * m + sum[i][j];
        }
}

// M ← keep · M + Σ_n weight[n] a_n b_nᵀ over `count` pairs of vectors that lie `size` apart; M (size, size) of lanes. A
// `fresh` M holds nothing yet and counts as zero.
template <class T>
inline void decay_and_add_outer(Vec<T>* M, int64_t size, Vec<T> keep, bool fresh, const Vec<T>* weight, const Vec<T>* a,
                                const Vec<T>* b, int64_t count) {
    const int64_t whole = size / 4 * 4;
    for (int64_t row = 0; row < whole; row += 4) {
        for (int64_t k = 0; k < whole; k += 4) outer_tile<T, 4, 4>(M, row, k, size, keep, fresh, weight, a, b, count);
        for (int64_t k = whole; k < size; ++k) outer_tile<T, 4, 1>(M, row, k, size, keep, fresh, weight, a, b, count);
    }
    for (int64_t row = whole; row < size; ++row)
        for (int64_t k = 0; k < size; ++k) outer_tile<T, 1, 1>(M, row, k, size, keep, fresh, weight, a, b, count);
}

// y_n += weight[n] (M + Mᵀ) x_n for `count` vectors that lie `size` apart; `row_sum` is scratch for one row.
template <class T>
inline void add_symmetric_products(const Vec<T>* M, int64_t size, const Vec<T>* weight, const Vec<T>* x, int64_t count,
                                   Vec<T>* row_sum, Vec<T>* y) {
    for (int64_t row = 0; row < size; ++row) {
        for (int64_t k = 0; k < size; ++k) row_sum[k] = M[row * size + k] + M[k * size + row];
        int64_t n = 0;
        for (; n + 4 <= count; n += 4) {
            Vec<T> sum[4] = {};
            for (int64_t k = 0; k < size; ++k)
                for (int i = 0; i < 4; ++i) sum[i] += row_sum[k] * x[(n + i) * size + k];
            for (int i = 0; i < 4; ++i) y[(n + i) * size + row] += weight[n + i] * sum[i];
        }
        for (; n < count; ++n) y[n * size + row] += weight[n] * dot<T>(row_sum, x + n * size, size);
    }
}

}  // namespace FW_VARIANT
}  // namespace fw
