// AVX-512: 16 of 32 registers hold sums. More rows would waste work on the usual channel counts,
// which are multiples of 8; more columns on small images.
#define CONVPOOL_TABLE kernels_avx512
#define CONVPOOL_NAME "avx512"
#define VECTOR_BYTES 64
#define TILE_ROWS 8
#define TILE_VECTORS 2
#define FILTER_VECTORS 4
#include "kernels.inc"
