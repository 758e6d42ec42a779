"""Nine prompts in the nine categories that the field's MTP benchmarks report."""

from __future__ import annotations

from typing import Final

from headlong.bench.workloads import Message, Workload

__all__ = ["NINE_TOKENS", "nine_prompts"]

NINE_TOKENS: Final = 192
"""Length of an answer in published tables."""

_TEXTS: Final = {
    "code_python": (
        "Write a Python module with a class `TokenBucket` that limits the rate of calls. It takes "
        "a capacity and a refill rate per second, has methods `try_take(n)` and `wait_time(n)`, "
        "uses an injectable clock, and is safe to use from several threads. Add type hints, "
        "docstrings and a short example."
    ),
    "code_cpp": (
        "Write a C++20 header with a class template `RingBuffer<T, N>`: a fixed-size queue that "
        "overwrites its oldest element when full. Give it `push`, `pop`, `front`, `size`, `empty`, "
        "iterators from oldest to newest, and constexpr members where possible. Show a `main` that "
        "uses it."
    ),
    "explain_concept": (
        "Explain to a second-year student how a B-tree keeps itself balanced when keys are "
        "inserted and deleted, why databases prefer it to a binary search tree, and what the "
        "fan-out has to do with the size of a disk page."
    ),
    "summarize": (
        "Summarise the following report in five sentences.\n\n"
        "The harbour authority of Vellmar replaced the diesel cranes on its eastern quay with "
        "electric ones over eighteen months. The work was planned for twelve, but the substation "
        "that feeds the quay turned out to be built on reclaimed ground that had settled unevenly, "
        "and its foundation had to be renewed. During that time ships were unloaded on the western "
        "quay, which has half the depth, so that the largest vessels waited for high water. "
        "Waiting cost the shipping lines about four hours per call, and two of them moved their "
        "weekly service to a neighbouring port. Since the cranes were switched on in March, a "
        "container takes seventy seconds from deck to truck instead of ninety-five. Noise measured "
        "at the nearest houses fell by nine decibels at night. The cranes feed energy back when "
        "they lower a load, which covers a fifth of what they draw. One of the two lines has "
        "returned; the other is waiting for the winter timetable. The authority expects the "
        "investment to pay off after eleven years rather than the nine it had announced, and will "
        "test the ground before it begins with the northern quay."
    ),
    "qa_factual": (
        "Answer each question in one or two sentences.\n"
        "1. Why is the sky blue at noon and red at sunset?\n"
        "2. What does the mitochondrion do in a cell?\n"
        "3. Why does ice float on water?\n"
        "4. What is the difference between weather and climate?\n"
        "5. How does a vaccine prepare the immune system?"
    ),
    "translation": (
        "Translate into German and then into French, keeping the tone:\n\n"
        "The night train was late again, and nobody on the platform seemed to mind. A woman read a "
        "newspaper from the day before. Two boys shared an orange. When the loudspeaker finally "
        "announced the delay, an old man laughed and said that in this town even the clocks took "
        "their time."
    ),
    "creative_short": (
        "Write a short story about a cartographer who is asked to draw a map of a village that "
        "exists only on the first morning of each year. Begin with the knock on her door."
    ),
    "stepwise_math": (
        "Solve step by step and check the result. A tank is filled by two pipes. The first alone "
        "needs 6 hours, the second alone 4 hours, and a drain empties the full tank in 12 hours. "
        "At first only the first pipe is open for one hour; then the second pipe and the drain are "
        "opened as well. After how many hours in total is the tank full?"
    ),
    "long_code_review": (
        "Review this code. Name every defect, say how it shows, and give a corrected version.\n\n"
        "```python\n"
        "import json, os, time\n\n"
        "CACHE = {}\n\n"
        "class Store:\n"
        "    def __init__(self, path, ttl=60, hooks=[]):\n"
        "        self.path = path\n"
        "        self.ttl = ttl\n"
        "        self.hooks = hooks\n"
        "        if not os.path.exists(path):\n"
        "            os.mkdir(path)\n\n"
        "    def _file(self, key):\n"
        "        return self.path + '/' + key + '.json'\n\n"
        "    def put(self, key, value):\n"
        "        f = open(self._file(key), 'w')\n"
        "        f.write(json.dumps({'t': time.time(), 'v': value}))\n"
        "        CACHE[key] = value\n"
        "        for hook in self.hooks:\n"
        "            try:\n"
        "                hook(key, value)\n"
        "            except:\n"
        "                pass\n\n"
        "    def get(self, key, default=None):\n"
        "        if key in CACHE:\n"
        "            return CACHE[key]\n"
        "        try:\n"
        "            entry = json.load(open(self._file(key)))\n"
        "        except Exception:\n"
        "            return default\n"
        "        if time.time() - entry['t'] > self.ttl:\n"
        "            os.remove(self._file(key))\n"
        "            return default\n"
        "        return entry['v']\n\n"
        "    def keys(self):\n"
        "        return [name[:-4] for name in os.listdir(self.path)]\n\n"
        "    def clear(self):\n"
        "        for key in self.keys():\n"
        "            os.remove(self._file(key))\n"
        "        CACHE = {}\n"
        "```"
    ),
}


def nine_prompts(
    max_tokens: int = NINE_TOKENS, *, temperature: float = 0.0, seed: int = 42, exact: bool = False
) -> tuple[Workload, ...]:
    """The nine, in the order of published tables."""
    return tuple(
        Workload(
            name,
            (Message("user", text),),
            max_tokens,
            exact_length=exact,
            temperature=temperature,
            seed=seed,
            category=name,
        )
        for name, text in _TEXTS.items()
    )
