// What lies between a transformer's products, in one pass each way: a row is normalised, then scaled and shifted; what a
// layer found is let through a gate and added; a square. Numbers are of 16 bits, sums and all between of 32. C interface
// alone; `rowwise.py` compiles, loads and describes it. Rows are of `width` numbers, a multiple of sixteen, `n` to a
// sample; modulations are a row a sample, `apart` numbers from one to the next.
#include "near.hpp"

#include <algorithm>
#include <cmath>

namespace {

const __m512 ONE = _mm512_set1_ps(1.f);

// One over the root mean square of a row.
inline float scaled(const bf16* x, int64_t width) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += 16) {
        const __m512 v = number(x + i);
        sum = _mm512_fmadd_ps(v, v, sum);
    }
    return std::sqrt(float(width)) / std::max(std::sqrt(_mm512_reduce_add_ps(sum)), 1e-6f);
}

// Sums over a sample's rows, rounded.
inline void settled(const float* sums, int64_t width, bf16* to) {
    for (int64_t i = 0; i < width; i += 16) put(to + i, _mm512_loadu_ps(sums + i));
}

}  // namespace

extern "C" {

// y = x / rms(x) (1 + scale) + shift, and of each row 1 / rms(x). shift, scale: null for none.
void genus_normed(const bf16* x, const bf16* shift, const bf16* scale, int64_t apart, int64_t samples, int64_t n,
                  int64_t width, bf16* y, float* by, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t row = 0; row < samples * n; ++row) {
        const bf16 *from = x + row * width, *add = shift, *times = scale;
        if (scale != nullptr) add += row / n * apart, times += row / n * apart;
        bf16* to = y + row * width;
        const float own = by[row] = scaled(from, width);
        const __m512 all = _mm512_set1_ps(own);
        if (scale == nullptr)
            for (int64_t i = 0; i < width; i += 16) put(to + i, _mm512_mul_ps(number(from + i), all));
        else
            for (int64_t i = 0; i < width; i += 16) {
                const __m512 h = _mm512_mul_ps(number(from + i), all);
                put(to + i, _mm512_fmadd_ps(h, _mm512_add_ps(ONE, number(times + i)), number(add + i)));
            }
    }
}

// The way back of `genus_normed`: dx, and of each sample dshift and dscale [samples, width], where scale is not null.
void genus_normed_back(const bf16* g, const bf16* x, const float* by, const bf16* scale, int64_t apart, int64_t samples,
                       int64_t n, int64_t width, bf16* dx, bf16* dshift, bf16* dscale, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        static thread_local Room kept;
        float* sums = kept.of<float>(2 * width);
#pragma omp for schedule(dynamic)
        for (int64_t sample = 0; sample < samples; ++sample) {
            std::fill(sums, sums + 2 * width, 0.f);
            const bf16* times = scale == nullptr ? nullptr : scale + sample * apart;
            for (int64_t row = sample * n; row < (sample + 1) * n; ++row) {
                const bf16 *at = x + row * width, *asked = g + row * width;
                const __m512 all = _mm512_set1_ps(by[row]);
                __m512 along = _mm512_setzero_ps();
                for (int64_t i = 0; i < width; i += 16) {
                    const __m512 h = _mm512_mul_ps(number(at + i), all);
                    __m512 d = number(asked + i);
                    if (scale != nullptr) {
                        const __m512 dh = _mm512_mul_ps(d, h);
                        _mm512_storeu_ps(sums + i, _mm512_add_ps(_mm512_loadu_ps(sums + i), d));
                        _mm512_storeu_ps(sums + width + i, _mm512_add_ps(_mm512_loadu_ps(sums + width + i), dh));
                        d = _mm512_mul_ps(d, _mm512_add_ps(ONE, number(times + i)));
                    }
                    along = _mm512_fmadd_ps(d, h, along);
                }
                const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(along) / float(width));
                for (int64_t i = 0; i < width; i += 16) {
                    const __m512 h = _mm512_mul_ps(number(at + i), all);
                    __m512 d = number(asked + i);
                    if (scale != nullptr) d = _mm512_mul_ps(d, _mm512_add_ps(ONE, number(times + i)));
                    put(dx + row * width + i, _mm512_mul_ps(all, _mm512_fnmadd_ps(h, mean, d)));
                }
            }
            if (scale != nullptr) {
                settled(sums, width, dshift + sample * width);
                settled(sums + width, width, dscale + sample * width);
            }
        }
    }
}

// z = x + y (1 + gate).
void genus_let_in(const bf16* x, const bf16* y, const bf16* gate, int64_t apart, int64_t samples, int64_t n,
                  int64_t width, bf16* z, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t row = 0; row < samples * n; ++row) {
        const bf16* let = gate + row / n * apart;
        for (int64_t i = 0, at = row * width; i < width; i += 16, at += 16)
            put(z + at, _mm512_fmadd_ps(number(y + at), _mm512_add_ps(ONE, number(let + i)), number(x + at)));
    }
}

// Its way back: dy, and of each sample dgate [samples, width]; dx is g.
void genus_let_in_back(const bf16* g, const bf16* y, const bf16* gate, int64_t apart, int64_t samples, int64_t n,
                       int64_t width, bf16* dy, bf16* dgate, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        static thread_local Room kept;
        float* sums = kept.of<float>(width);
#pragma omp for schedule(dynamic)
        for (int64_t sample = 0; sample < samples; ++sample) {
            std::fill(sums, sums + width, 0.f);
            const bf16* let = gate + sample * apart;
            for (int64_t row = sample * n; row < (sample + 1) * n; ++row)
                for (int64_t i = 0, at = row * width; i < width; i += 16, at += 16) {
                    const __m512 d = number(g + at);
                    _mm512_storeu_ps(sums + i, _mm512_fmadd_ps(d, number(y + at), _mm512_loadu_ps(sums + i)));
                    put(dy + at, _mm512_mul_ps(d, _mm512_add_ps(ONE, number(let + i))));
                }
            settled(sums, width, dgate + sample * width);
        }
    }
}

// y = relu(x)^2 of `count` numbers, a multiple of sixteen; given g, its way back: y = 2 g relu(x).
void genus_squared(const bf16* x, const bf16* g, int64_t count, bf16* y, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i += 16) {
        const __m512 r = _mm512_max_ps(_mm512_setzero_ps(), number(x + i));  // lets what is no number pass
        put(y + i, _mm512_mul_ps(r, g == nullptr ? r : _mm512_mul_ps(number(g + i), _mm512_set1_ps(2.f))));
    }
}
}
