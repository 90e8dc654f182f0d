// Weight decay inside of an update.
#ifndef GRADWATCH_CORE_OPTIM_DECAY_H_
#define GRADWATCH_CORE_OPTIM_DECAY_H_

namespace gradwatch::core {

// Weight decay of either kind, in the arithmetic of T; what is unused changes nothing.
template <typename T>
struct Decay {
  Decay() = default;
  Decay(double decay, bool decoupled, double learning_rate)
      : added(static_cast<T>(decoupled ? 0 : decay)), kept(static_cast<T>(decoupled ? 1 - learning_rate * decay : 1)) {}
  T added = 0;  // the gradient gets the parameter times this
  T kept = 1;   // the parameter is first multiplied by this
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_DECAY_H_
