//! A small neural network: standardise, one hidden layer with tanh, softmax.

use proplet_sdk::Failure;
use serde::{Deserialize, Serialize};

/// What `train.py` writes.
#[derive(Deserialize)]
pub struct Model {
    classes: Vec<String>,
    mean: Vec<f64>,
    deviation: Vec<f64>,
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    /// One row per output.
    weights: Vec<Vec<f64>>,
    bias: Vec<f64>,
}

/// The likeliest class of a sample.
#[derive(Debug, Serialize)]
pub struct Prediction {
    pub class: String,
    pub probability: f64,
}

impl Model {
    pub fn classify(&self, sample: &[f64]) -> Result<Prediction, Failure> {
        let features = self.mean.len();
        if sample.len() != features || sample.iter().any(|value| !value.is_finite()) {
            let text = format!("a sample has {features} finite numbers, not {sample:?}");
            return Err(Failure::invalid_input(text));
        }
        let scaled = sample.iter().zip(&self.mean).zip(&self.deviation);
        let mut values: Vec<f64> = scaled
            .map(|((value, mean), dev)| (value - mean) / dev)
            .collect();
        for (index, layer) in self.layers.iter().enumerate() {
            values = layer.apply(&values);
            if index + 1 < self.layers.len() {
                values.iter_mut().for_each(|value| *value = value.tanh());
            }
        }
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = values.iter().map(|value| (value - top).exp()).sum();
        let best = values
            .iter()
            .zip(&self.classes)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        let (score, class) = best.ok_or_else(|| Failure::other("the model has no classes"))?;
        let probability = ((score - top).exp() / sum * 1e4).round() / 1e4;
        Ok(Prediction {
            class: class.clone(),
            probability,
        })
    }
}

impl Layer {
    fn apply(&self, values: &[f64]) -> Vec<f64> {
        let rows = self.weights.iter().zip(&self.bias);
        rows.map(|(row, bias)| bias + row.iter().zip(values).map(|(w, v)| w * v).sum::<f64>())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        serde_json::from_str(include_str!("../weights.json")).unwrap()
    }

    #[test]
    fn held_out_samples_are_classified_as_well_as_in_training() {
        let model = model();
        let samples: Vec<_> = include_str!("../samples.csv").lines().collect();
        let right = samples.iter().filter(|line| {
            let (numbers, class) = line.rsplit_once(',').unwrap();
            let sample: Vec<f64> = numbers
                .split(',')
                .map(|number| number.parse().unwrap())
                .collect();
            model.classify(&sample).unwrap().class == class
        });
        assert_eq!((right.count(), samples.len()), (29, 30));
    }

    #[test]
    fn probabilities_are_probabilities() {
        let prediction = model().classify(&[5.1, 3.5, 1.4, 0.2]).unwrap();
        assert!(
            prediction.probability > 0.9 && prediction.probability <= 1.0,
            "{prediction:?}"
        );
    }

    #[test]
    fn a_sample_of_another_shape_is_refused() {
        for sample in [&[1.0][..], &[1.0; 5], &[f64::NAN, 1.0, 1.0, 1.0]] {
            assert!(matches!(
                model().classify(sample),
                Err(Failure::InvalidInput(_))
            ));
        }
    }
}
