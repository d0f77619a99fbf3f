defmodule DSPex.ArgumentsTest do
  # Every function of the front, with every kind of term in the place of each argument.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Session
  alias DSPex.Test.Peer

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}
  @quick [instance: __MODULE__, timeout: 1]

  setup_all do
    # Its worker answers nothing but what a start needs.
    start_supervised!({DSPex, name: __MODULE__, pools: [default: Peer.pool()]})
    :ok = DSPex.await_ready(__MODULE__)
    :ok
  end

  # What each function takes. Those that begin or end something for good have no arguments here that do so.
  defp facade do
    {:ok, signature} = DSPex.signature("question -> answer")
    {:ok, lm} = DSPex.lm_client(model: "openai/any", base_url: "http://127.0.0.1:9/v1", api_key_env: nil)
    {:ok, pipeline} = DSPex.pipeline([{:native, :template, template: "{{a}}!", as: "b"}])

    %{
      async: [@program, @inputs, @quick],
      await: [DSPex.async(@program, @inputs, @quick), 0],
      await_ready: [__MODULE__, 0],
      batch: [@program, [@inputs], @quick],
      call: [@program, @inputs, @quick],
      call!: [@program, @inputs, @quick],
      cancel: [DSPex.async(@program, @inputs, @quick)],
      chain_of_thought: ["q -> a", %{q: "?"}, @quick],
      compile_signature: ["q -> a"],
      describe: [@program, @quick],
      drain: [__MODULE__.Absent, :default],
      dump: [@program, @quick],
      evaluate: [@program, [{@inputs, %{answer: "a"}}], [{:metric, :f1} | @quick]],
      health_check: [__MODULE__, 1],
      info: [__MODULE__],
      lm_client: [[model: "openai/any"]],
      lm_generate: [lm, "Hi", [timeout: 1]],
      load: [~s({"format":1,"kind":"predict","signature":"q -> a"}), []],
      optimize: [@program, [{@inputs, %{answer: "a"}}], [{:metric, :f1} | @quick]],
      pipeline: [[{:native, :template, template: "{{a}}!", as: "b"}]],
      predict: ["q -> a", %{q: "?"}, @quick],
      react: ["q -> a", [], %{q: "?"}, @quick],
      render_template: ["{{a}}", %{a: "x"}],
      request: ["ping", [], @quick],
      resize: [__MODULE__, :default, 1],
      restart: [__MODULE__.Absent, :default, 1],
      run_pipeline: [pipeline, %{a: "x"}, []],
      signature: ["q -> a"],
      status: [__MODULE__, :default],
      stream: [@program, @inputs, @quick],
      stream_to: [self(), @program, @inputs, @quick],
      validate: [%{answer: "x"}, signature]
    }
  end

  defp session do
    session = Session.ref("s", instance: __MODULE__)
    own = [timeout: 1]

    %{
      append: [session, [%{"q" => "?"}], own],
      bind: [session, own],
      call: [session, @program, @inputs, own],
      close: [session, own],
      describe: [session, own],
      export: [session, own],
      get: [session, own],
      history: [session, own],
      import: [%{}, @quick],
      list: [@quick],
      open: [@quick],
      put: [session, %{"k" => 1}, own],
      stream: [session, @program, @inputs, own],
      touch: [session, own],
      trim: [session, 1, own]
    }
  end

  # Those that make or start something raise an ArgumentError instead.
  @raising %{DSPex => [:child_spec, :start_link], Session => [:ref, :__struct__]}

  defp terms do
    [nil, true, :x, "text", <<255>>, "", 1, -1, 1.5, [], [1], [1 | 2], [{1, 2}], [a: 1], %{}, %{1 => 2}, {}, {:a, 1}] ++
      [self(), make_ref(), fn -> :ok end, fn _, _ -> :ok end, 1..3, Date.utc_today(), DSPex.Ordered.new([]), @program]
  end

  @tag req: "NFR4.1.3"
  test "no function of the front raises anything but its own errors, whatever it is given" do
    for {module, known} <- [{DSPex, facade()}, {Session, session()}] do
      functions = for {name, _arity} <- module.__info__(:functions), name not in @raising[module], uniq: true, do: name
      assert Enum.sort(functions) == known |> Map.keys() |> Enum.sort()

      wrong =
        for {name, arguments} <- known,
            place <- 0..(length(arguments) - 1),
            term <- terms(),
            # It may be a stream, as far as can be seen.
            not (name == :batch and place == 1 and is_function(term, 2)),
            given = List.replace_at(arguments, place, term),
            outcome = outcome(name, fn -> apply(module, name, given) end),
            outcome != :fine,
            do: {name, place, term, outcome}

      assert wrong == [], listed(wrong)
    end
  end

  @call [:pool, :lm, :adapter, :config, :session, :tenant, :idempotency_key, :traceparent, :implementation, :encoding] ++
          [:cache, :execution, :instance, :timeout, :nope]
  @options %{
    call: @call,
    stream: @call,
    request: [:pool, :encoding, :maps, :worker, :instance, :timeout, :nope],
    describe: [:pool, :instance, :timeout, :nope],
    dump: [:pool, :instance, :timeout, :nope],
    batch: [:max_concurrency, :pool, :instance, :timeout, :nope],
    evaluate: [:metric, :metric_timeout, :on_progress, :concurrency, :pool, :nope],
    optimize: [:metric, :metric_timeout, :on_progress, :optimizer, :pool, :nope],
    load: [:tools, :nope],
    lm_client: [:model, :base_url, :timeout, :retries, :params, :max_bytes, :http, :api_key_env, :nope],
    lm_generate: [:params, :response_format, :timeout, :on_text, :nope],
    run_pipeline: [:instance, :timeout, :on_progress, :nope]
  }

  @tag req: "NFR4.1.3"
  test "nor with any kind of term in the place of an option's value" do
    known = facade()

    wrong =
      for {name, options} <- @options,
          option <- options,
          term <- terms(),
          given = List.update_at(known[name], -1, &Keyword.put(&1, option, term)),
          outcome = outcome(name, fn -> apply(DSPex, name, given) end),
          outcome != :fine,
          do: {name, option, term, outcome}

    assert wrong == [], listed(wrong)
  end

  defp listed(wrong), do: Enum.map_join(wrong, "\n", &inspect(&1, width: 250))

  defp outcome(name, function) do
    judged(name, function.())
  rescue
    # What a bang function, a stream and an async call say of the wrong arguments.
    error in Error -> if name in [:call!, :async, :stream], do: :fine, else: {:raised, error}
    error in DSPex.SignatureError -> if name == :stream, do: :fine, else: {:raised, error}
    error -> "raised #{Exception.format(:error, error, Enum.take(__STACKTRACE__, 2))}"
  catch
    kind, reason -> {kind, reason}
  end

  defp judged(:stream, stream), do: judged(:read, Enum.to_list(stream))

  defp judged(:batch, outcomes) when is_list(outcomes),
    do: Enum.find(Enum.map(outcomes, &judged(:one, &1)), :fine, &(&1 != :fine))

  defp judged(:async, %DSPex.Async{} = async), do: judged(:await, DSPex.await(async))
  defp judged(:read, events) when is_list(events), do: :fine
  defp judged(:call!, %DSPex.Prediction{}), do: :fine
  defp judged(_name, :ok), do: :fine
  defp judged(_name, {:ok, _value}), do: :fine
  defp judged(_name, {:error, %Error{reason: :internal} = error}), do: {:internal, error}
  defp judged(_name, {:error, %module{}}) when module in [Error, DSPex.SignatureError], do: :fine
  defp judged(_name, other), do: {:odd, other}
end
