// The gradient of a matrix that sequences share: Σ a bᵀ over sequences and steps, of a and b that are in lanes.
//
// Lanes hold sequences, which the sum runs over. So b is turned until lanes hold its columns, and the numbers of a are
// broadcast one by one. Every entry is summed in one order, however many threads there are.
#pragma once

#include "lanes.hpp"

namespace fw {
namespace FW_VARIANT {

// `count` runs of `steps` vectors of lanes: vector t of run n is first + n · run + t · step.
template <class T> struct Runs {
    const Vec<T>* first;
    int64_t run, step;
};

// Sums that stay in registers: rows, halved where fewer are left, and vectors of columns.
constexpr int kGradientRows = FW_BYTES == 64 ? 8 : 4;
constexpr int kGradientColumns = 3;
// Steps that are turned at a time: few enough that three columns of them stay in the first cache.
constexpr int kTurned = 4;
// Rows that one thread sums at a time, for each of which b is turned once more.
constexpr int64_t kGradientBand = 64;

template <class T> struct WeightGradient {
    using V = Vec<T>;
    const Runs<T> a, b;
    const int64_t count, steps, columns;
    T* const gradient;
    const int64_t width;     // vectors that hold a row
    V* const turned;         // (kTurned · kLanes, width): b of so many steps
    V* const sums;           // (kGradientBand, width)
    const V* left[kTurned];  // a of the same steps, from the band's first row on

    static int64_t vectors(int64_t columns) { return (columns + kLanes<T> - 1) / kLanes<T>; }
    static int64_t scratch_width(int64_t columns) { return (kTurned * kLanes<T> + kGradientBand) * vectors(columns); }

    WeightGradient(Runs<T> a, Runs<T> b, int64_t count, int64_t steps, int64_t columns, T* gradient, V* scratch)
        : a(a), b(b), count(count), steps(steps), columns(columns), gradient(gradient), width(vectors(columns)),
          turned(scratch), sums(turned + kTurned * kLanes<T> * width) {
        for (int64_t i = 0; i < scratch_width(columns); ++i) scratch[i] = V{};
    }

    // `rows` rows of the gradient, at most kGradientBand, from `begin` on.
    void band(int64_t begin, int64_t rows) {
        for (int64_t pair = 0; pair < count * steps; pair += kTurned) {
            const int64_t rest = count * steps - pair;
            const int some = rest < kTurned ? int(rest) : kTurned;
            for (int i = 0; i < some; ++i) turn(i, pair + i, begin);
            add_columns<kGradientColumns>(0, rows, some);
        }
        for (int64_t row = 0; row < rows; ++row)
            __builtin_memcpy(gradient + (begin + row) * columns, sums + row * width, columns * sizeof(T));
    }

    void turn(int slot, int64_t pair, int64_t begin) {
        const int64_t n = pair / steps, t = pair % steps, stride = width * kLanes<T>;
        left[slot] = a.first + n * a.run + t * a.step + begin;
        T* rows = reinterpret_cast<T*>(turned + slot * kLanes<T> * width);
        scatter<T>(b.first + n * b.run + t * b.step, columns, rows, stride, kLanes<T>);
    }

    template <int M> void add_columns(int64_t column, int64_t rows, int some) {
        for (; column + M <= width; column += M) add_rows<kGradientRows, M>(0, rows, column, some);
        if constexpr (M > 1)
            if (column < width) add_columns<M - 1>(column, rows, some);
    }

    template <int N, int M> void add_rows(int64_t row, int64_t rows, int64_t column, int some) {
        for (; row + N <= rows; row += N) add_tile<N, M>(row, column, some);
        if constexpr (N > 1)
            if (row < rows) add_rows<N / 2, M>(row, rows, column, some);
    }

    template <int N, int M> void add_tile(int64_t row, int64_t column, int some) {
        V sum[N][M] = {};  // of these steps alone: a chain through all of them would round more
        for (int slot = 0; slot < some; ++slot) {
            const V *numbers = left[slot] + row, *right = turned + slot * kLanes<T> * width + column;
            for (int lane = 0; lane < kLanes<T>; ++lane, right += width)
                for (int i = 0; i < N; ++i)
                    for (int j = 0; j < M; ++j) sum[i][j] += numbers[i][lane] * right[j];
        }
        for (int i = 0; i < N; ++i)
            for (int j = 0; j < M; ++j) sums[(row + i) * width + column + j] += sum[i][j];
    }
};

}  // namespace FW_VARIANT
}  // namespace fw
