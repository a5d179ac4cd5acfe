/* What Python passes to the core. Every pointer is to contiguous memory of the call's number type unless it says
 * otherwise; null means absent. B, T, H as in types.py; P members of a population, each with weights of its own;
 * N = P ceil(B / lanes) blocks. "Lanes" arrays hold `lanes` sequences side by side and belong to the core. */
#ifndef FASTWEIGHTS_ABI_H
#define FASTWEIGHTS_ABI_H

#include <stdint.h>

#define FW_INTERFACE 1 /* counted up when fields change their meaning but not their size; library.py has it too */

typedef struct {
    int64_t members, batch, steps, hidden; /* P, B, T, H */
    int64_t threads;
    int64_t inner_steps;                   /* S */
    int64_t chunk;                         /* steps between two updates of an explicit A */
    int64_t spacing;                       /* chunks between two checkpoints of A */
    int64_t tanh;                          /* f: 0 ReLU, 1 tanh */
    int64_t stores;                        /* 0: every η is 0, so that nothing is ever stored */

    const double* settings;           /* (P, 3): λ, η and layer norm's ε */
    const void* weight_hh;            /* (P, H, H) */
    void* packed;                     /* as many: W or its transpose in the order of the products, put there by the core */
    const void* norm_weight;          /* (P, H) or null: no layer norm */
    const void* norm_bias;            /* (P, H) */
    const void* z;                    /* (P, B, T, H) */
    const void* h0;                   /* (P, B, H) or null: zero */
    const void* A0;                   /* (P, B, H, H) or null: zero */
    const int64_t* lengths;           /* (P, B) or null: T */

    void* out;     /* (P, B, T, H) */
    void* h_final; /* (P, B, H) */
    void* A_final; /* (P, B, H, H) or null: not wanted */

    void* saved;       /* lanes, or null: no backward pass will follow */
    void* checkpoints; /* lanes (N, checkpoints, H, H), or null */
    void* scratch;     /* lanes (threads, scratch width) */

    const void* d_out;     /* (P, B, T, H) or null: zero */
    const void* d_h_final; /* (P, B, H) or null: zero */
    const void* d_A_final; /* (P, B, H, H) or null: zero */
    void* d_z;             /* (P, B, T, H) */
    void* d_h0;            /* (P, B, H) or null: not wanted */
    void* d_A0;            /* (P, B, H, H) or null: not wanted */
    void* d_weight_hh;     /* (P, H, H) */
    void* d_norm_weight;   /* (P, H) or null: no layer norm */
    void* d_norm_bias;     /* (P, H) */
    void* d_norm;          /* (N, 2, H): the blocks' shares of the two above */
    void* d_boundary;      /* lanes (N, T, H) */
} FastWeightsCall;

typedef struct {
    int64_t members, batch, steps, hidden; /* P, B, T, H */
    int64_t threads;
    double norm_epsilon;

    const void* weight_hh;   /* (P, 4H, H), gates i, f, g, o */
    void* packed;            /* as many: W or its transpose in the order of the products, put there by the core */
    const void* hh_weight;   /* (P, 4H) or null: no layer norm */
    const void* hh_bias;     /* (P, 4H) */
    const void* cell_weight; /* (P, H) */
    const void* cell_bias;   /* (P, H) */
    const void* z;           /* (P, B, T, 4H) */
    const void* h0;          /* (P, B, H) or null: zero */
    const void* c0;          /* (P, B, H) or null: zero */
    const int64_t* lengths;  /* (P, B) or null: T */

    void* out;     /* (P, B, T, H) */
    void* h_final; /* (P, B, H) */
    void* c_final; /* (P, B, H) */

    void* saved;   /* lanes, or null: no backward pass will follow */
    void* scratch; /* lanes (threads, scratch width) */

    const void* d_out;     /* (P, B, T, H) or null: zero */
    const void* d_h_final; /* (P, B, H) or null: zero */
    const void* d_c_final; /* (P, B, H) or null: zero */
    void* d_z;             /* (P, B, T, 4H) */
    void* d_h0;            /* (P, B, H) or null: not wanted */
    void* d_c0;            /* (P, B, H) or null: not wanted */
    void* d_weight_hh;     /* (P, 4H, H) */
    void* d_hh_weight;     /* (P, 4H) or null: no layer norm */
    void* d_hh_bias;       /* (P, 4H) */
    void* d_cell_weight;   /* (P, H) */
    void* d_cell_bias;     /* (P, H) */
    void* d_norm;          /* (N, 2, 4H): the blocks' shares of the gradients of hh_weight and hh_bias */
    void* d_cell_norm;     /* (N, 2, H): likewise of cell_weight and cell_bias */
    void* d_recurrent;     /* lanes (N, T, 4H): gradient of W h */
} LSTMCall;

typedef struct {
    int64_t members, batch, steps, hidden; /* P, B, T, H = 2N */
    int64_t heads, copies;
    int64_t threads;
    double norm_epsilon;

    const void* weight_hh;       /* (P, Z, H), Z = (1 + 8 heads) N */
    void* packed;                /* as many: W or its transpose in the order of the products, put there by the core */
    const void* norm_weight;     /* (P, Z) or null: no layer norm */
    const void* norm_bias;       /* (P, Z) */
    const void* z;               /* (P, B, T, Z) */
    const int64_t* permutations; /* (P, copies, N) */
    const void* h0;              /* (P, B, H) or null: zero */
    const void* c0;              /* (P, B, copies, H) or null: zero */
    const int64_t* lengths;      /* (P, B) or null: T */

    void* out;     /* (P, B, T, H) */
    void* h_final; /* (P, B, H) */
    void* c_final; /* (P, B, copies, H) */

    void* saved;   /* lanes, or null: no backward pass will follow */
    void* scratch; /* lanes (threads, scratch width) */

    const void* d_out;     /* (P, B, T, H) or null: zero */
    const void* d_h_final; /* (P, B, H) or null: zero */
    const void* d_c_final; /* (P, B, copies, H) or null: zero */
    void* d_z;             /* (P, B, T, Z) */
    void* d_h0;            /* (P, B, H) or null: not wanted */
    void* d_c0;            /* (P, B, copies, H) or null: not wanted */
    void* d_weight_hh;     /* (P, Z, H) */
    void* d_norm_weight;   /* (P, Z) or null: no layer norm */
    void* d_norm_bias;     /* (P, Z) */
    void* d_norm;          /* (N, 2, Z): the blocks' shares of the two above */
    void* d_recurrent;     /* lanes (N, T, Z): gradient of W h */
} AssociativeLSTMCall;

#endif
