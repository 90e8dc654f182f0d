// Names of threads, as debuggers and `top` show them.
#ifndef GRADWATCH_CORE_BASE_THREAD_NAME_H_
#define GRADWATCH_CORE_BASE_THREAD_NAME_H_

#include <pthread.h>

#include <algorithm>
#include <string>

namespace gradwatch::core {

// Names the calling thread; what is longer than 15 characters is cut.
inline void NameThisThread(std::string name) {
  name.resize(std::min<size_t>(name.size(), 15));
  pthread_setname_np(pthread_self(), name.c_str());
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_THREAD_NAME_H_
