// Small networks, a table for each family of layers, that every gradient check goes through: central differences,
// complex steps, PyTorch. A new layer adds a row here and is checked by all of them.
#ifndef GRADWATCH_TESTS_SUPPORT_MODEL_CASES_H_
#define GRADWATCH_TESTS_SUPPORT_MODEL_CASES_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "core/data/batch.h"

namespace gradwatch::testing {

struct ModelCase {
  std::string name;   // letters, digits and '_'
  std::string model;  // a ModelSpec as text
  core::DataShape data;
  uint64_t seed = 1;  // of parameters and batch; such that no kink (relu, maximum) lies within a difference
};

inline void PrintTo(const ModelCase& c, std::ostream* out) { *out << c.name; }

std::vector<ModelCase> BasicCases();  // dense, activations, residual, flatten, losses
std::vector<ModelCase> RecurrentCases();
std::vector<ModelCase> ImageCases();  // convolution, pooling
std::vector<ModelCase> ActivationCases();
std::vector<ModelCase> NormalizationCases();  // also dropout and scale
std::vector<ModelCase> LossCases();
std::vector<ModelCase> AttentionCases();  // embedding, self-attention

// All of the tables above.
std::vector<ModelCase> AllModelCases();

// Pieces of models.
std::string Dense(int units);
std::string Activation(const std::string& function);  // "TANH"
std::string Residual(const std::string& inner);
inline constexpr char kCrossEntropy[] = "loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY } ";
inline constexpr char kSquaredError[] = "loss { function: LOSS_FUNCTION_SQUARED_ERROR } ";

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_MODEL_CASES_H_
