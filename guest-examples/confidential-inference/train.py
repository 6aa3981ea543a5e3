#!/usr/bin/env python3
"""Trains the model of this example: `train.py iris.csv` writes weights.json and samples.csv.

Needs nothing but Python's standard library, and gives the same bytes every time. iris.csv is the file
of that name in scikit-learn (sklearn/datasets/data): Fisher's data of 1936, as in his paper.
"""

import json
import math
import random
import sys

CLASSES = ["setosa", "versicolor", "virginica"]
FEATURES = ["sepal length", "sepal width", "petal length", "petal width"]
HIDDEN, RATE, DECAY, EPOCHS = 6, 0.01, 0.001, 300


def forward(layers, x):
    (w1, b1), (w2, b2) = layers
    hidden = [math.tanh(b + sum(w * v for w, v in zip(row, x))) for row, b in zip(w1, b1)]
    scores = [b + sum(w * v for w, v in zip(row, hidden)) for row, b in zip(w2, b2)]
    top = max(scores)
    exps = [math.exp(s - top) for s in scores]
    return hidden, [e / sum(exps) for e in exps]


def train(rows):
    rng = random.Random(1936)
    matrix = lambda n, m: [[rng.gauss(0, 1 / math.sqrt(m)) for _ in range(m)] for _ in range(n)]
    layers = [
        (matrix(HIDDEN, len(FEATURES)), [0.0] * HIDDEN),
        (matrix(len(CLASSES), HIDDEN), [0.0] * len(CLASSES)),
    ]
    (w1, b1), (w2, b2) = layers
    for _ in range(EPOCHS):
        rng.shuffle(rows)
        for x, label in rows:
            hidden, probabilities = forward(layers, x)
            out = [p - (k == label) for k, p in enumerate(probabilities)]
            back = [
                (1 - h * h) * sum(out[k] * w2[k][j] for k in range(len(CLASSES)))
                for j, h in enumerate(hidden)
            ]
            for weights, biases, grads, values in ((w2, b2, out, hidden), (w1, b1, back, x)):
                for k, grad in enumerate(grads):
                    biases[k] -= RATE * grad
                    for j, value in enumerate(values):
                        weights[k][j] -= RATE * (grad * value + DECAY * weights[k][j])
    return layers


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [line.strip().split(",") for line in file][1:]
    rows = [([float(v) for v in line[:4]], int(line[4])) for line in lines]
    held_out = rows[::5]
    training = [row for i, row in enumerate(rows) if i % 5]
    columns = list(zip(*(x for x, _ in training)))
    mean = [sum(c) / len(c) for c in columns]
    deviation = [math.sqrt(sum((v - m) ** 2 for v in c) / len(c)) for c, m in zip(columns, mean)]
    scale = lambda x: [(v - m) / d for v, m, d in zip(x, mean, deviation)]
    layers = train([(scale(x), label) for x, label in training])
    right = sum(
        max(range(3), key=forward(layers, scale(x))[1].__getitem__) == label for x, label in held_out
    )
    short = lambda v: [short(e) for e in v] if isinstance(v, list) else round(v, 5)
    model = {
        "provenance": "train.py of this example on Fisher's Iris data (1936), 120 of 150 rows; "
        f"{right} of the 30 held-out rows (samples.csv) are classified correctly",
        "features": FEATURES,
        "classes": CLASSES,
        "mean": short(mean),
        "deviation": short(deviation),
        "layers": [{"weights": short(w), "bias": short(b)} for w, b in layers],
    }
    with open("weights.json", "w", encoding="utf-8") as file:
        rows = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in model.items())
        file.write("{" + rows + "}\n")
    with open("samples.csv", "w", encoding="utf-8") as file:
        for x, label in held_out:
            file.write(",".join(map(str, x)) + f",{CLASSES[label]}\n")
    print(model["provenance"])


main()
