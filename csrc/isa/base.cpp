// What every machine of the architecture has: SSE2 on x86-64, NEON on AArch64.
#define CONVPOOL_TABLE kernels_base
#define CONVPOOL_NAME "base"
#define VECTOR_BYTES 16
#if defined(__aarch64__)
#define TILE_ROWS 8  // 24 of 32 registers hold sums
#define TILE_VECTORS 3
#else
#define TILE_ROWS 4  // 8 of 16 registers hold sums; products need their own without FMA
#define TILE_VECTORS 2
#endif
#define GATHER_VECTORS TILE_VECTORS
#define GATHER_SUMS (TILE_ROWS * TILE_VECTORS)
#define FILTER_VECTORS 2
#include "kernels.inc"
