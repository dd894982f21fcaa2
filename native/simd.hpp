// How hot loops are compiled for several CPUs at once. Sanitizers do not get along with the resolver this needs.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(LARIX_SANITIZE)
#define LARIX_SIMD __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define LARIX_SIMD
#endif

// A function that takes on the instruction set of its caller: everything a LARIX_SIMD function calls in its loop. And one that
// does nothing but ask for memory ahead: GCC takes such a function for one without effect, and drops the call before it comes
// to inline it.
#define LARIX_INLINE inline __attribute__((always_inline))

// Before a loop over columns: its passes do not depend on each other, and GCC is not to unroll one of known length before
// it comes to vectorise it, which it then does badly or not at all.
#if defined(__GNUC__) && !defined(__clang__)
#define LARIX_COLUMNS _Pragma("GCC ivdep") _Pragma("GCC unroll 1")
#else
#define LARIX_COLUMNS
#endif
