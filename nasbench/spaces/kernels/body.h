/* All functions for one kind of numbers and one instruction set. */
#include "lanes.h"
#include "products.h"
#include "depthwise.h"
#include "matrices.h"
#include "passes.h"
#include "forward.h"
#include "backward.h"
#undef V
#undef L
#undef PREPARED
#undef PASS
#undef PICKED
#undef PACKED_PRODUCT
#undef FORMS
#undef TILE
#undef UNROLL
