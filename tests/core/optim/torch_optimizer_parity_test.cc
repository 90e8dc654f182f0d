// All optimizers and schedules against torch.optim and torch.optim.lr_scheduler, in double, over a hundred steps and
// more; and in float where it is the float that matters.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/optim/optimizer.h"
#include "core/optim/schedule.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::TempDir;

constexpr int kNoTorch = 77;
constexpr int kSteps = 100;
constexpr int kSize = 19;

struct Case {
  const char* spec;       // an OptimizerSpec
  const char* optimizer;  // the same in PyTorch
  const char* scheduler = "None";
  const char* scale = "1";  // of the gradients
};

const Case kCases[] = {
    {"learning_rate: 0.1", "torch.optim.SGD(p, 0.1)"},
    {"learning_rate: 0.1 weight_decay: 0.03", "torch.optim.SGD(p, 0.1, weight_decay=0.03)"},
    {"learning_rate: 0.1 momentum: 0.9", "torch.optim.SGD(p, 0.1, momentum=0.9)"},
    {"learning_rate: 0.1 momentum: 0.9 dampening: 0.4 weight_decay: 0.03",
     "torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.4, weight_decay=0.03)"},
    {"learning_rate: 0.1 momentum: 0.8 nesterov: true weight_decay: 0.03",
     "torch.optim.SGD(p, 0.1, momentum=0.8, nesterov=True, weight_decay=0.03)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.01", "torch.optim.RMSprop(p)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.02 beta2: 0.9 epsilon: 0.1 weight_decay: 0.03",
     "torch.optim.RMSprop(p, 0.02, alpha=0.9, eps=0.1, weight_decay=0.03)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.01 centered: true", "torch.optim.RMSprop(p, centered=True)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.01 momentum: 0.7", "torch.optim.RMSprop(p, momentum=0.7)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.01 momentum: 0.7 centered: true weight_decay: 0.03",
     "torch.optim.RMSprop(p, momentum=0.7, centered=True, weight_decay=0.03)"},
    {"method: OPTIMIZER_METHOD_ADAGRAD learning_rate: 0.01", "torch.optim.Adagrad(p)"},
    {"method: OPTIMIZER_METHOD_ADAGRAD learning_rate: 0.1 learning_rate_decay: 0.02 initial_accumulator: 0.5 "
     "epsilon: 1e-3 weight_decay: 0.03",
     "torch.optim.Adagrad(p, 0.1, lr_decay=0.02, initial_accumulator_value=0.5, eps=1e-3, weight_decay=0.03)"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.001", "torch.optim.Adam(p)"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.02 beta1: 0.7 beta2: 0.95 epsilon: 1e-3 weight_decay: 0.03",
     "torch.optim.Adam(p, 0.02, betas=(0.7, 0.95), eps=1e-3, weight_decay=0.03)"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.02 beta2: 0.9 amsgrad: true",
     "torch.optim.Adam(p, 0.02, betas=(0.9, 0.9), amsgrad=True)"},
    {"method: OPTIMIZER_METHOD_ADAMW learning_rate: 0.02", "torch.optim.AdamW(p, 0.02)"},
    {"method: OPTIMIZER_METHOD_ADAMW learning_rate: 0.02 weight_decay: 0.3 amsgrad: true",
     "torch.optim.AdamW(p, 0.02, weight_decay=0.3, amsgrad=True)"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.02 weight_decay: 0.3 decoupled_decay: true",
     "torch.optim.AdamW(p, 0.02, weight_decay=0.3)"},

    {"learning_rate: 0.1 schedule { warmup_steps: 20 }", "torch.optim.SGD(p, 0.1)", "LinearLR(o, 1 / 20, 1, 19)"},
    {"learning_rate: 0.1 schedule { method: METHOD_STEP period: 7 gamma: 0.6 }", "torch.optim.SGD(p, 0.1)",
     "StepLR(o, 7, 0.6)"},
    {"learning_rate: 0.1 schedule { method: METHOD_EXPONENTIAL gamma: 0.97 }", "torch.optim.SGD(p, 0.1)",
     "ExponentialLR(o, 0.97)"},
    {"learning_rate: 0.1 schedule { method: METHOD_COSINE }", "torch.optim.SGD(p, 0.1)", "CosineAnnealingLR(o, 100)"},
    {"learning_rate: 0.1 schedule { method: METHOD_COSINE warmup_steps: 10 final_rate: 0.01 }",
     "torch.optim.SGD(p, 0.1)", "SequentialLR(o, [LinearLR(o, 1 / 10, 1, 9), CosineAnnealingLR(o, 90, 0.01)], [10])"},
    {"learning_rate: 0.1 schedule { method: METHOD_STEP warmup_steps: 10 period: 20 }", "torch.optim.SGD(p, 0.1)",
     "SequentialLR(o, [LinearLR(o, 1 / 10, 1, 9), StepLR(o, 20)], [10])"},
    {"learning_rate: 0.1 schedule { method: METHOD_INVERSE_SQRT warmup_steps: 15 }", "torch.optim.SGD(p, 0.1)",
     "LambdaLR(o, lambda t: min((t + 1) / 15, (15 / (t + 1)) ** 0.5))"},
    {"learning_rate: 0.1 momentum: 0.9 schedule { method: METHOD_ONE_CYCLE }", "torch.optim.SGD(p, 0.1, momentum=0.9)",
     "OneCycleLR(o, 0.1, 100)"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.02 schedule { method: METHOD_ONE_CYCLE rise_fraction: 0.45 "
     "start_divisor: 10 end_divisor: 100 min_momentum: 0.7 max_momentum: 0.9 }",
     "torch.optim.Adam(p, 0.02)",
     "OneCycleLR(o, 0.02, 100, pct_start=0.45, div_factor=10, final_div_factor=100, base_momentum=0.7, "
     "max_momentum=0.9)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.02 momentum: 0.5 schedule { method: METHOD_ONE_CYCLE }",
     "torch.optim.RMSprop(p, momentum=0.5)", "OneCycleLR(o, 0.02, 100)"},
    {"learning_rate: 0.1 schedule { method: METHOD_ONE_CYCLE horizon: 120 }", "torch.optim.SGD(p, 0.1)",
     "OneCycleLR(o, 0.1, 120, cycle_momentum=False)"},
    {"learning_rate: 0.1 schedule { method: METHOD_PLATEAU }", "torch.optim.SGD(p, 0.1)", "ReduceLROnPlateau(o)"},
    {"learning_rate: 0.1 schedule { method: METHOD_PLATEAU gamma: 0.5 period: 3 threshold: 0.01 cooldown: 4 "
     "final_rate: 0.004 }",
     "torch.optim.SGD(p, 0.1)",
     "ReduceLROnPlateau(o, factor=0.5, patience=3, threshold=0.01, cooldown=4, min_lr=0.004)"},
};

// Gradients whose squares are denormal doubles, beside epsilons that do not hide them, and one that does.
const Case kTinyCases[] = {
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.001 epsilon: 1e-300", "torch.optim.Adam(p, eps=1e-300)", "None",
     "1e-156"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.001 epsilon: 1e-157 beta2: 0.99",
     "torch.optim.Adam(p, betas=(0.9, 0.99), eps=1e-157)", "None", "1e-156"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.001 epsilon: 1e-8", "torch.optim.Adam(p)", "None", "1e-156"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.001 epsilon: 1e-300 amsgrad: true",
     "torch.optim.Adam(p, eps=1e-300, amsgrad=True)", "None", "1e-156"},
    {"method: OPTIMIZER_METHOD_ADAMW learning_rate: 0.001 epsilon: 1e-300", "torch.optim.AdamW(p, eps=1e-300)", "None",
     "1e-156"},
    {"method: OPTIMIZER_METHOD_ADAMW learning_rate: 0.001 epsilon: 1e-300 amsgrad: true",
     "torch.optim.AdamW(p, eps=1e-300, amsgrad=True)", "None", "1e-156"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.001 epsilon: 1e-300",
     "torch.optim.RMSprop(p, 0.001, eps=1e-300)", "None", "1e-156"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.001 epsilon: 1e-300 centered: true",
     "torch.optim.RMSprop(p, 0.001, eps=1e-300, centered=True)", "None", "1e-156"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.001 epsilon: 1e-300 momentum: 0.7",
     "torch.optim.RMSprop(p, 0.001, eps=1e-300, momentum=0.7)", "None", "1e-156"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.001 epsilon: 1e-300 centered: true momentum: 0.7",
     "torch.optim.RMSprop(p, 0.001, eps=1e-300, centered=True, momentum=0.7)", "None", "1e-156"},
    {"method: OPTIMIZER_METHOD_ADAGRAD learning_rate: 0.01 epsilon: 1e-300", "torch.optim.Adagrad(p, eps=1e-300)",
     "None", "1e-156"},
};

// Gradients whose squares are denormal floats, or none at all.
const Case kTinyFloatCases[] = {
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.001 epsilon: 1e-30", "torch.optim.Adam(p, eps=1e-30)"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.001 epsilon: 1e-23 beta2: 0.99",
     "torch.optim.Adam(p, betas=(0.9, 0.99), eps=1e-23)"},
    {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.001 epsilon: 1e-30 amsgrad: true",
     "torch.optim.Adam(p, eps=1e-30, amsgrad=True)"},
    {"method: OPTIMIZER_METHOD_ADAMW learning_rate: 0.001 epsilon: 1e-30 weight_decay: 0.01",
     "torch.optim.AdamW(p, eps=1e-30)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.001 epsilon: 1e-30 beta2: 0.99",
     "torch.optim.RMSprop(p, 0.001, eps=1e-30)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.001 epsilon: 1e-30 beta2: 0.99 momentum: 0.7",
     "torch.optim.RMSprop(p, 0.001, eps=1e-30, momentum=0.7)"},
    {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.001 epsilon: 1e-30 beta2: 0.999",
     "torch.optim.RMSprop(p, 0.001, alpha=0.999, eps=1e-30)"},
    {"method: OPTIMIZER_METHOD_ADAGRAD learning_rate: 0.01 epsilon: 1e-30", "torch.optim.Adagrad(p, eps=1e-30)"},
};

using Numbers = std::vector<double>;

void WriteRaw(const TempDir& folder, const std::string& name, const Numbers& numbers) {
  folder.Write(name, absl::string_view(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(double)));
}

Numbers ReadResult(const TempDir& folder) {
  std::ifstream in(folder.File("result"), std::ios::binary);
  Numbers numbers;
  for (double number; in.read(reinterpret_cast<char*>(&number), sizeof(number));) numbers.push_back(number);
  return numbers;
}

struct Problem {
  explicit Problem(int steps) : steps(steps), start(kSize), noise(steps * kSize), losses(steps) {
    Random random(5, RandomStream::kSyntheticData, 0);
    for (double& x : start) x = random.NextNormal();
    for (double& x : noise) x = random.NextNormal();
    // Falls, then no longer does; one loss is not a number.
    for (int t = 0; t < steps; ++t) losses[t] = 1 + std::exp(-0.1 * t) + 0.001 * random.NextNormal();
    losses[30] = std::nan("");
  }
  int steps;
  Numbers start, noise, losses;
  double feedback = 0.5;  // the gradient is the noise and this times the parameter
};

// From zero, a few gradients, a pause of zeros in which Adam's mean dies and squares are stuck, and small gradients
// with shorter pauses.
Problem PausedProblem() {
  Problem problem(1'500);
  problem.feedback = 0;
  std::fill(problem.start.begin(), problem.start.end(), 0);
  std::fill(problem.noise.begin(), problem.noise.end(), 0);
  const auto set = [&problem](int step, double gradient) {
    for (int i = 0; i < kSize; ++i) problem.noise[step * kSize + i] = (i % 2 == 0 ? 1 : -1) * gradient * (1 + 0.1 * i);
  };
  for (int step = 0; step < 3; ++step) set(step, 1e-20);
  set(1'300, 1e-22);
  set(1'302, 2e-22);
  set(1'400, 3e-21);
  set(1'498, 1e-22);
  return problem;
}

// What tests/support/torch_optimizer_oracle.py writes for a case.
template <typename T>
Numbers Trajectory(const Case& c, const Problem& problem) {
  v1::OptimizerSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(c.spec, &spec));
  // Tiny epsilons of double are below what a spec may say; the arithmetic is that of float's tiny ones.
  if (spec.epsilon() == 0 || spec.epsilon() >= 1e-30) {
    EXPECT_THAT(ValidateOptimizer(spec), gradwatch::testing::IsOk()) << c.spec;
  }
  const double scale = std::strtod(c.scale, nullptr);
  spec = ResolveOptimizer(spec);
  ParameterLayout layout;
  layout.Add("p", {kSize}, 0, v1::Initializer());
  const auto optimizer = MakeOptimizer<T>(spec, &layout);
  Schedule schedule(spec, problem.steps);
  std::vector<T> gradients(layout.arena_size()), parameters(layout.arena_size());
  Numbers result;
  std::copy(problem.start.begin(), problem.start.end(), parameters.begin());
  StepRecord record;
  record.tensors.resize(1);
  for (int t = 0; t < problem.steps; ++t) {
    for (int i = 0; i < kSize; ++i) {
      gradients[i] = static_cast<T>(scale * (problem.noise[t * kSize + i] + problem.feedback * parameters[i]));
    }
    const auto momentum = schedule.MomentumAt(t);
    if (momentum.has_value()) optimizer->SetMomentum(*momentum);
    const double own = spec.has_beta1() ? spec.beta1() : spec.momentum();
    result.push_back(schedule.RateAt(t));
    result.push_back(momentum.value_or(own));
    optimizer->Step(schedule.RateAt(t), gradients, parameters, &record);
    result.insert(result.end(), parameters.begin(), parameters.begin() + kSize);
    schedule.ObserveLoss(problem.losses[t]);
  }
  return result;
}

constexpr size_t kRow = 2 + kSize;

// What PyTorch makes of the cases in an arithmetic ("float32"); empty if there is none.
Numbers TorchTrajectories(std::span<const Case> cases, const Problem& problem, const char* arithmetic = "float64") {
  const TempDir folder;
  std::string text;
  for (const Case& c : cases) absl::StrAppend(&text, c.optimizer, "\n", c.scheduler, "\n", c.scale, "\n");
  folder.Write("cases", text);
  WriteRaw(folder, "start", problem.start);
  WriteRaw(folder, "noise", problem.noise);
  WriteRaw(folder, "losses", problem.losses);
  const std::string script = GRADWATCH_SOURCE_DIR "/tests/support/torch_optimizer_oracle.py";
  const int status = std::system(
      absl::StrCat("/usr/bin/python3 ", script, " ", folder.path(), " ", arithmetic, " ", problem.feedback).c_str());
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoTorch) return {};
  EXPECT_EQ(status, 0);
  return ReadResult(folder);
}

// The largest relative error of a number, which `limit` must not be below.
double LargestError(std::span<const Case> cases, const Problem& problem, const Numbers& torch, double limit) {
  const size_t run = problem.steps * kRow;
  EXPECT_EQ(torch.size(), cases.size() * run);
  double worst = 0;
  for (size_t k = 0; k < cases.size() && !::testing::Test::HasFailure(); ++k) {
    const Numbers ours = Trajectory<double>(cases[k], problem);
    for (size_t i = 0; i < run; ++i) {
      const double expected = torch[k * run + i];
      const double error = std::abs(ours[i] - expected) / std::max(std::abs(expected), 1e-3);
      worst = std::max(worst, error);
      if (error <= limit) continue;
      ADD_FAILURE() << cases[k].spec << "\nstep " << i / kRow << ", number " << i % kRow << ": " << ours[i]
                    << " instead of " << expected;
      break;
    }
  }
  return worst;
}

TEST(TorchOptimizerParityTest, AllOptimizersAndSchedules) {
  const Problem problem(kSteps);
  const Numbers torch = TorchTrajectories(kCases, problem);
  if (torch.empty()) GTEST_SKIP() << "no PyTorch (python3-torch)";
  RecordProperty("largest_relative_error", absl::StrCat(LargestError(kCases, problem, torch, 1e-12)));
}

// Denormal numbers have fewer digits, and products of them are rounded in another order.
TEST(TorchOptimizerParityTest, TinyGradientsAndEpsilons) {
  const Problem problem(250);
  const Numbers torch = TorchTrajectories(kTinyCases, problem);
  if (torch.empty()) GTEST_SKIP() << "no PyTorch (python3-torch)";
  RecordProperty("largest_relative_error", absl::StrCat(LargestError(kTinyCases, problem, torch, 1e-4)));
}

// Every update is judged, to 5% of itself: the smallest squares have two digits.
TEST(TorchOptimizerParityTest, FloatsOfTinyGradientsAndPauses) {
  const Problem problem = PausedProblem();
  const Numbers torch = TorchTrajectories(kTinyFloatCases, problem, "float32");
  if (torch.empty()) GTEST_SKIP() << "no PyTorch (python3-torch)";
  const size_t run = problem.steps * kRow;
  ASSERT_EQ(torch.size(), std::size(kTinyFloatCases) * run);
  for (size_t k = 0; k < std::size(kTinyFloatCases); ++k) {
    SCOPED_TRACE(kTinyFloatCases[k].spec);
    const Numbers ours = Trajectory<float>(kTinyFloatCases[k], problem);
    for (size_t i = 2 * kRow; i < run; ++i) {
      if (i % kRow < 2) continue;  // the rate and the momentum
      const double update = ours[i] - ours[i - kRow], expected = torch[k * run + i] - torch[k * run + i - kRow];
      ASSERT_NEAR(update, expected, 0.05 * std::abs(expected) + 1e-7) << "step " << i / kRow << ", number " << i % kRow;
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
