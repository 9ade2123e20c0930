// The same model of features that are kept by their structure: numbers, and for each
// one-hot group the column that is hot in each row.
data {
  int<lower=0> N;
  int<lower=1> D;
  int<lower=0> M;
  int<lower=0> G;
  matrix[N, M] x;
  array[M] int<lower=1, upper=D> column;  // those of numbers
  array[G, N] int<lower=1, upper=D> hot;
  vector[D] base;  // what a column has where it is not hot, 0 for numbers
  vector[D] rise;  // how much more it has where it is
  array[N] int<lower=0, upper=1> y;
}
parameters {
  vector[D] beta;
}
model {
  vector[D] table = rise .* beta;
  vector[N] shift = rep_vector(dot_product(base, beta), N);
  for (g in 1:G) {
    shift += table[hot[g]];
  }
  beta ~ std_normal();
  y ~ bernoulli_logit_glm(x, shift, beta[column]);
}
