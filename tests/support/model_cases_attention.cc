#include "tests/support/model_cases.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {

std::vector<ModelCase> AttentionCases() {
  return {
      {"embedding", "layers { embedding { units: 6 } }" + Dense(4) + kCrossEntropy, TokenData(6, 11, 4, true)},
      {"embedding_with_positions",
       "layers { embedding { units: 6 positions: true } } layers { flatten {} }" + Dense(4) + kCrossEntropy,
       TokenData(5, 7, 4, false)},
      {"embedding_of_one_token", "layers { embedding { units: 6 } }" + Dense(4) + kCrossEntropy,
       TokenData(0, 5, 4, false)},
      {"embedding_before_an_lstm",
       "layers { embedding { units: 5 } } layers { lstm { units: 6 } }" + Dense(4) + kCrossEntropy,
       TokenData(6, 11, 4, true)},
      {"self_attention", "layers { self_attention { heads: 1 } }" + Dense(4) + kCrossEntropy, ClassData(7, 6, 4, true)},
      {"self_attention_heads",
       Dense(6) + "layers { self_attention { heads: 3 } } layers { last_step {} }" + Dense(2) + kSquaredError,
       ValueData(6, 4, 2)},
      {"self_attention_of_one_step", Dense(6) + "layers { self_attention { heads: 2 } }" + Dense(4) + kCrossEntropy,
       ClassData(1, 3, 4, true)},
      {"self_attention_over_several_tiles",
       Dense(4) + "layers { self_attention { heads: 2 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(131, 3, 4)},
      {"self_attention_on_text",
       "layers { embedding { units: 8 positions: true } }" + Residual("layers { self_attention { heads: 2 } }") +
           Residual(Dense(12) + Activation("TANH") + Dense(8)) + Dense(11) + kCrossEntropy,
       TokenData(9, 11, 11, true)},
  };
}

}  // namespace gradwatch::testing
