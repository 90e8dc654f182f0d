// Job specs that are drawn at random, for properties that must hold for any of them.
#ifndef GRADWATCH_TESTS_SUPPORT_RANDOM_SPEC_H_
#define GRADWATCH_TESTS_SUPPORT_RANDOM_SPEC_H_

#include <cstdint>
#include <random>
#include <string>

#include "gradwatch/v1/job.pb.h"

namespace gradwatch::testing {

// Draws specs over all layers, optimizers, modes of clipping, conditions of rules and sources of data, from a few
// numbers to some tens of millions. Most are valid; who uses one asks ValidateJob.
class RandomSpecs {
 public:
  // Writes the data files that specs name (table.csv, text.txt, images.idx, labels.idx) into `folder`.
  RandomSpecs(uint64_t seed, const std::string& folder);

  v1::JobSpec Draw();

 private:
  // What a layer reads.
  struct Reading {
    enum class Kind { kVector, kSequence, kTokens, kImage } kind = Kind::kVector;
    bool target_per_step = false, classes = true;
    int outputs = 0;
    int features = 0;  // of a row
  };

  int Below(int end) { return static_cast<int>(engine_() % static_cast<uint64_t>(end)); }
  int Between(int low, int high) { return low + Below(high - low + 1); }
  bool OneIn(int chances) { return Below(chances) == 0; }
  // From 1 to the size of the present spec, small ones as likely as large ones; only large ones of a spec that is
  // large.
  int Units();

  Reading DrawData(v1::JobSpec* spec);
  void DrawModel(Reading reading, v1::ModelSpec* model);
  void AddSequenceLayer(Reading* reading, v1::ModelSpec* model);
  void AddVectorLayer(Reading* reading, v1::ModelSpec* model);
  void AddImageLayers(v1::ModelSpec* model);
  void DrawInitializer(v1::Initializer* initializer);
  void DrawOptimizer(v1::OptimizerSpec* optimizer);
  void DrawControls(v1::JobSpec* spec);
  void DrawRules(v1::RuleSet* rules);

  std::mt19937_64 engine_;
  int largest_ = 1;  // units of a layer of the present spec
  bool is_large_ = false;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_RANDOM_SPEC_H_
