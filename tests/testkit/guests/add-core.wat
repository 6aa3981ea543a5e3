;; A plain core module: numbers in, a number out. It imports nothing.
(module
  (func (export "add") (param i32 i32) (result i32)
    local.get 0
    local.get 1
    i32.add)

  ;; The n-th Fibonacci number, modulo 2^64.
  (func (export "fib") (param $n i32) (result i64)
    (local $a i64) (local $b i64) (local $next i64)
    (local.set $b (i64.const 1))
    (block $done
      (loop $step
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $next (i64.add (local.get $a) (local.get $b)))
        (local.set $a (local.get $b))
        (local.set $b (local.get $next))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $step)))
    (local.get $a))

  (func (export "half") (param f64) (result f64)
    (f64.mul (local.get 0) (f64.const 0.5)))

  ;; Ends badly.
  (func (export "trap") (unreachable))

  ;; Does not end.
  (func (export "spin") (loop $again (br $again))))
