defmodule DSPex.PipelineTest do
  use ExUnit.Case, async: true

  alias DSPex.Pipeline

  doctest DSPex.Pipeline
  doctest DSPex.Pipeline.Native
  doctest DSPex.Pipeline.Result
  doctest DSPex.Pipeline.Fields

  @moduletag req: ["FR4.2.1", "FR4.2.3"]

  defp run!(steps, inputs, options \\ []), do: steps |> Pipeline.new!(options) |> Pipeline.run!(inputs)
  defp fail!(steps, inputs, options \\ []), do: steps |> Pipeline.new!(options) |> Pipeline.run(inputs) |> elem(1)
  defp add(name, value), do: {fn _fields -> %{name => value} end, name: "add #{name}", outputs: [name]}

  # A step that tells the test that it runs, and then never ends by itself.
  defp hang(test) do
    fn _fields ->
      send(test, {:hanging, self()})
      receive do: (:never -> %{})
    end
  end

  defp assert_dead(pid) do
    monitor = Process.monitor(pid)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}, 5_000
  end

  describe "building" do
    test "a step that needs what nobody gives is an error that names step and field" do
      steps = [add(:a, 1), {fn f -> f end, inputs: [:a, :b], outputs: [:c]}]
      assert {:error, error} = Pipeline.new(steps, inputs: [])
      assert error.message =~ "step 2 (function) needs the field b"
    end

    test "steps that need what the other gives are an error, in either order" do
      {left, right} = {{& &1, inputs: [:b], outputs: [:a]}, {& &1, inputs: [:a], outputs: [:b]}}
      assert {:error, %{message: message}} = Pipeline.new([left, right], inputs: [])
      assert message =~ "step 1 (function) needs the field b"
      assert {:error, %{message: message}} = Pipeline.new([right, left], inputs: [])
      assert message =~ "step 1 (function) needs the field a"
    end

    test "what may be passed over on an error cannot be relied on" do
      maybe = {fn _fields -> %{a: 1} end, outputs: [:a], on_error: :continue}
      assert {:error, error} = Pipeline.new([maybe, {fn f -> f end, inputs: [:a], outputs: []}], inputs: [])
      assert error.message =~ "needs the field a"
    end

    test "both branches of a condition must give what comes after needs" do
      branch = fn no ->
        [{:conditional, fn _ -> true end, add(:a, 1), no}, {fn f -> f end, inputs: [:a], outputs: []}]
      end

      assert {:ok, _pipeline} = Pipeline.new(branch.(add(:a, 2)), inputs: [])
      assert {:error, _error} = Pipeline.new(branch.(add(:b, 2)), inputs: [])
      assert {:error, _error} = Pipeline.new(branch.(nil), inputs: [])
    end

    test "after a function that does not say what it gives, nothing is taken for missing" do
      assert {:ok, _pipeline} =
               Pipeline.new([fn _ -> %{x: 1} end, {fn f -> f end, inputs: [:x], outputs: []}], inputs: [])
    end

    test "two parallel steps may not give the same field" do
      assert {:error, error} = Pipeline.new([{:parallel, [add(:a, 1), add(:a, 2)]}])
      assert error.message =~ "two parallel steps give the field a"
    end

    test "programs say what they need and give by their signatures" do
      steps = [
        DSPex.ChainOfThought.new("question -> answer"),
        {fn f -> f end, inputs: ["reasoning", "answer"], outputs: []}
      ]

      assert {:ok, pipeline} = Pipeline.new(steps, inputs: ["question"])
      assert pipeline.outputs == ["reasoning", "answer"]
      assert {:error, error} = Pipeline.new(steps, inputs: ["query"])
      assert error.message =~ "needs the field question"
    end

    test "unknown steps, options and operations are errors that say what there is" do
      for {spec, text} <- [
            {:what, "step 1 cannot be understood"},
            {{:native, :dance, []}, "no native operation :dance"},
            {{fn f -> f end, retires: 1}, "unknown option retires"},
            {{fn f -> f end, timeout: -1}, "timeout is -1"},
            {{fn f -> f end, retries: :many}, "retries is :many"},
            {{fn f -> f end, on_error: :ignore}, "on_error is :ignore"},
            {{:native, :template, template: "{{"}, "{{ is not closed"},
            {{:native, :json_schema, schema: %{"type" => "strin"}, field: "a"}, "malformed"},
            {{:function, "score"}, "pass functions:"},
            {DSPex.Predict.new("q -> a -> b"), "exactly one"}
          ] do
        assert {:error, error} = Pipeline.new([spec])
        assert error.message =~ text
      end

      assert {:error, _error} = Pipeline.new([])
      nested = Enum.reduce(1..20, fn f -> f end, fn _n, inner -> {:parallel, [inner]} end)
      assert {:error, %{message: message}} = Pipeline.new([nested])
      assert message =~ "deeper than 16"
    end
  end

  describe "running" do
    test "fields go from step to step, and the result has them all" do
      double = {fn %{"n" => n} -> {:ok, %{"double" => 2 * n}} end, inputs: [:n], outputs: [:double]}
      result = run!([double, {:native, :template, template: "{{n}} and {{double}}"}], %{n: 2}, inputs: [:n])
      assert result.fields == %{"n" => 2, "double" => 4, "text" => "2 and 4"}

      assert Enum.map(result.steps, &{&1.name, &1.status, &1.route}) == [
               {"function", :ok, :elixir},
               {"template", :ok, :native}
             ]
    end

    @tag req: "FR4.2.2"
    test "parallel steps run at the same time: each waits here for the other" do
      test = self()

      meet = fn name, other ->
        {fn _fields ->
           send(test, {name, self()})
           receive do: (:go -> %{name => other})
         end, outputs: [name]}
      end

      task = Task.async(fn -> run!([{:parallel, [meet.("a", 1), meet.("b", 2)]}], %{}) end)
      assert_receive {"a", a}
      assert_receive {"b", b}
      for pid <- [b, a], do: send(pid, :go)
      assert Task.await(task).fields == %{"a" => 1, "b" => 2}
    end

    test "the first failure of parallel steps stops the others" do
      test = self()

      boom = fn _fields ->
        receive do: (:go -> raise "boom")
      end

      steps = [
        {:parallel, [{hang(test), outputs: [:x]}, {fn f -> send(test, {:boom, self()}) && boom.(f) end, outputs: [:y]}]}
      ]

      task = Task.async(fn -> fail!(steps, %{}) end)
      assert_receive {:hanging, hanging}
      assert_receive {:boom, pid}
      send(pid, :go)
      assert Task.await(task).message =~ "RuntimeError: boom"
      assert_dead(hanging)
    end

    test "conditions choose a branch, or nothing" do
      steps = [
        {:conditional, &(&1["n"] > 0), add(:sign, "+"), add(:sign, "-")},
        {:conditional, &(&1["n"] == 7), add(:lucky, true)}
      ]

      assert run!(steps, %{n: 1}).fields == %{"n" => 1, "sign" => "+"}
      assert run!(steps, %{n: -1})["sign"] == "-"
      assert run!(steps, %{n: 7})["lucky"]
    end

    test "map gives lists in the order of the items, reduce goes through them with what it has so far" do
      square = {fn %{"item" => n} -> %{square: n * n} end, inputs: [:item], outputs: [:square]}
      sum = {fn %{"item" => n, "acc" => acc} -> %{acc: acc + n} end, inputs: [:item, :acc], outputs: [:acc]}
      result = run!([{:map, :numbers, square, max_concurrency: 2}, {:reduce, :square, sum, 0}], %{numbers: [3, 1, 2]})
      assert result["square"] == [9, 1, 4]
      assert result["acc"] == 14
      assert run!([{:map, :numbers, square}], %{numbers: []})["square"] == []
      assert fail!([{:map, :numbers, square}], %{numbers: 5}).message =~ "goes over a list, not 5"
    end

    test "a pipeline is a step, with its own timeout" do
      inner =
        Pipeline.new!([add(:a, 1), {fn f -> %{b: f["a"] + 1} end, inputs: [:a], outputs: [:b]}],
          name: "inner",
          timeout: 5_000
        )

      assert run!([inner, {fn f -> %{c: f["b"]} end, inputs: [:b], outputs: [:c]}], %{}).fields == %{
               "a" => 1,
               "b" => 2,
               "c" => 2
             }
    end

    test "missing inputs are told before anything runs" do
      assert fail!([{fn _ -> flunk("ran") end, inputs: [:a], outputs: []}], %{}, inputs: [:a]).message =~
               "needs the inputs a"
    end

    test "native operations check, parse, normalise, compare and rename" do
      steps = [
        {:native, :parse_json, field: "raw", as: "data"},
        {:native, :json_schema, field: "data", schema: %{"required" => ["a"]}},
        {:native, :normalize, field: "answer", as: "plain"},
        {:native, :exact_match, field: "answer", reference: "gold"},
        {:native, :f1, field: "answer", reference: "gold", as: "f1"},
        {:native, :rename, field: "plain", as: "final"}
      ]

      result = run!(steps, %{raw: ~s({"a": [1]}), answer: "The Answer", gold: ["answer"]})
      assert {result["data"], result["score"], result["f1"], result["final"]} == {%{"a" => [1]}, true, 1.0, "answer"}
      assert fail!(steps, %{raw: "{", answer: "", gold: []}).message =~ "raw is no JSON"
      assert fail!(steps, %{raw: "{}", answer: "", gold: []}).message =~ "lacks \"a\""
    end
  end

  describe "failures" do
    test "what a step does to itself is an error of that step: raise, throw, exit, kill, a wrong value" do
      for {function, text} <- [
            {fn _ -> raise "boom" end, "RuntimeError: boom"},
            {fn _ -> throw(:ball) end, "ball"},
            {fn _ -> exit(:gone) end, "exit :gone"},
            {fn _ -> Process.exit(self(), :kill) end, "its process being killed"},
            {fn _ -> :no_map end, "gave :no_map, not a map"},
            {fn _ -> {:error, :nope} end, "gave the error :nope"}
          ] do
        error = fail!([{function, name: "bad"}], %{})
        assert error.reason == :program_error
        assert error.message =~ "step 1 (bad)"
        assert error.message =~ text
      end
    end

    test "a step that does not give what it promised is told" do
      assert fail!([{fn _ -> %{} end, outputs: [:a]}], %{}).message =~ "did not give the field a"
    end

    @tag req: "OWN-1"
    test "a step past its time is stopped, and so is the whole pipeline past its own" do
      error = fail!([{hang(self()), timeout: 1_000, name: "slow"}], %{})
      assert error.reason == :timeout
      assert error.message =~ "step 1 (slow) took longer than 1000 ms"
      assert_received {:hanging, pid}
      refute Process.alive?(pid)

      assert fail!([{:parallel, [hang(self())]}], %{}, timeout: 1_000).message =~
               "the pipeline took longer than 1000 ms"

      assert_received {:hanging, pid}
      assert_dead(pid)
    end

    @tag req: "OWN-1"
    test "when the caller dies, everything that it started dies, however deep" do
      test = self()
      {:ok, caller} = Task.start(fn -> run!([{:parallel, [{:map, :l, {:parallel, [hang(test)]}}]}], %{l: [1, 2]}) end)
      assert_receive {:hanging, one}
      assert_receive {:hanging, two}
      Process.exit(caller, :kill)
      Enum.each([one, two], &assert_dead/1)
    end

    test "errors are passed over and kept, or replaced by a fallback" do
      bad = fn _fields -> raise "boom" end
      result = run!([{bad, on_error: :continue, name: "a"}, {bad, on_error: {:fallback, add(:x, 1)}, name: "b"}], %{})
      assert result["x"] == 1
      assert [{"a", %{reason: :program_error}}, {"b", %{reason: :program_error}}] = result.errors
      assert Enum.map(result.steps, &{&1.name, &1.status}) == [{"a", :error}, {"b", :error}, {"add x", :ok}]
    end

    test "only errors that may be retried are, and no more often than asked" do
      counter = :counters.new(1, [])

      flaky = fn reason, until ->
        fn _fields ->
          :counters.add(counter, 1, 1)
          if :counters.get(counter, 1) < until, do: {:error, DSPex.Error.new(reason, "not yet")}, else: %{a: 1}
        end
      end

      result = run!([{flaky.(:overloaded, 3), retries: 5}], %{})
      assert [%{attempts: 3}] = result.steps
      :counters.put(counter, 1, 0)
      assert fail!([{flaky.(:invalid_input, 3), retries: 5}], %{}).reason == :invalid_input
      assert :counters.get(counter, 1) == 1
    end

    test "steps that were done are compensated for, the last one first, when a later one fails" do
      test = self()
      undo = fn name -> fn _fields, outputs -> send(test, {:undo, name, outputs}) end end

      steps = [
        {fn _ -> %{a: 1} end, compensate: undo.(:a)},
        {fn _ -> %{b: 2} end, compensate: undo.(:b)},
        fn _ -> raise "boom" end
      ]

      error = fail!(steps, %{})
      assert_received {:undo, first, %{"b" => 2}}
      assert_received {:undo, second, %{"a" => 1}}
      assert {first, second} == {:b, :a}
      assert Enum.map(error.details["steps"], & &1["status"]) == ["ok", "ok", "error"]
    end

    @tag req: "OWN-1"
    test "what was done is compensated for when the caller dies, a stream is halted, or the time is over" do
      test = self()
      done = {fn _ -> %{a: 1} end, outputs: [:a], compensate: fn _fields, outputs -> send(test, {:undo, outputs}) end}
      steps = [done, hang(test)]

      {:ok, caller} = Task.start(fn -> run!(steps, %{}) end)
      assert_receive {:hanging, _pid}, 5_000
      Process.exit(caller, :kill)
      assert_receive {:undo, %{"a" => 1}}, 5_000

      steps |> Pipeline.new!() |> Pipeline.stream(%{}) |> Enum.take(2)
      assert_receive {:undo, %{"a" => 1}}, 5_000

      assert fail!(steps, %{}, timeout: 1_000).reason == :timeout
      assert_receive {:undo, %{"a" => 1}}, 5_000
    end

    @tag capture_log: true
    test "a compensation that fails does not keep the others from running" do
      test = self()
      ok = {fn _ -> %{a: 1} end, compensate: fn _fields, _outputs -> send(test, :undone) end}
      bad = {fn _ -> %{b: 1} end, compensate: fn _fields, _outputs -> raise "no" end}
      fail!([ok, bad, fn _ -> raise "boom" end], %{})
      assert_received :undone
    end
  end

  describe "watching" do
    @tag req: "FR4.2.4"
    test "progress and telemetry tell of each step" do
      test = self()
      name = "watch #{inspect(test)}"

      handler = fn event, measures, metadata, _config ->
        if metadata.name == name, do: send(test, {event, measures, metadata})
      end

      for suffix <- [:start, :stop],
          do: DSPex.Telemetry.attach({name, suffix}, [:dspex, :pipeline, :step, suffix], handler, nil)

      pipeline = Pipeline.new!([{fn _ -> %{} end, name: name}])
      {:ok, _result} = Pipeline.run(pipeline, %{}, on_progress: &send(test, {:progress, &1.type}))
      for suffix <- [:start, :stop], do: DSPex.Telemetry.detach({name, suffix})
      assert_received {[:dspex, :pipeline, :step, :start], %{system_time: _time}, %{kind: :function}}
      assert_received {[:dspex, :pipeline, :step, :stop], %{duration: _duration}, %{status: :ok, attempts: 1}}
      assert_received {:progress, :step_start}
      assert_received {:progress, :step_stop}
    end

    test "a stream tells the steps and ends with the result" do
      types = [add(:a, 1), add(:b, 2)] |> Pipeline.new!() |> Pipeline.stream(%{}) |> Enum.map(& &1.type)
      assert types == [:step_start, :step_stop, :step_start, :step_stop, :done]
    end

    test "a stream raises the error of a failing pipeline" do
      stream = [fn _ -> raise "boom" end] |> Pipeline.new!() |> Pipeline.stream(%{})
      assert_raise DSPex.Error, ~r/boom/, fn -> Stream.run(stream) end
    end

    @tag req: "OWN-1"
    test "a stream that is not read to its end stops the work and leaves no message" do
      stream = [add(:a, 1), hang(self())] |> Pipeline.new!() |> Pipeline.stream(%{})

      hanging =
        Enum.reduce_while(stream, nil, fn
          %{type: :step_start, name: "function"}, nil -> {:halt, receive(do: ({:hanging, pid} -> pid))}
          _event, nil -> {:cont, nil}
        end)

      refute Process.alive?(hanging)
      assert Process.info(self(), :messages) == {:messages, []}
    end
  end
end
