defmodule DSPex.Learning do
  @moduledoc """
  Programs over examples: how good they are, and how they become better. `DSPex.evaluate/3` and `DSPex.optimize/3` are its
  front.

  An example is `{inputs, outputs}`, or a map with `:inputs` and `:outputs`: what the program gets, and what is expected
  of it.

  Options of both, beside those of calls (`:timeout` is `:infinity` here):

    * `:metric` – `:exact_match`, `:f1` or `:contains` (the mean over the expected outputs), or a function of the example
      (a map with `:inputs` and `:outputs`, themselves with text keys) and the outputs; it gives a number or a boolean
    * `:metric_timeout` – ms for one run of that function (30,000)
    * `:on_progress` – a function of `%{done: n, total: n, score: number}`, called in the caller's process after every
      example
  """

  alias DSPex.Caller
  alias DSPex.Check
  alias DSPex.Error
  alias DSPex.Ordered
  alias DSPex.Program
  alias DSPex.Tool

  @metric_tool "dspex_metric"
  @own [:metric, :metric_timeout, :on_progress, :concurrency, :optimizer]

  @type example :: {map | keyword, map | keyword} | %{inputs: map | keyword, outputs: map | keyword}
  @type metric :: atom | String.t() | (map, map -> number | boolean)

  @doc "See `DSPex.evaluate/3`."
  @spec evaluate(Program.t(), [example], keyword) :: {:ok, map} | {:error, Error.t()}
  def evaluate(%Program{} = program, examples, options) do
    with {:ok, examples} <- examples(examples),
         :ok <- Check.all(on_progress: options[:on_progress]),
         {:ok, metric, tools} <- metric(options),
         params = [{"examples", examples}, {"metric", metric} | concurrency(options)],
         {:ok, result} <- run("program.evaluate", program, params, tools, options) do
      {:ok, result |> Ordered.plain() |> Map.update!("results", &Enum.map(&1, fn row -> outcome(row) end))}
    end
  end

  @doc "See `DSPex.optimize/3`."
  @spec optimize(Program.t(), [example], keyword) :: {:ok, map} | {:error, Error.t()}
  def optimize(%Program{} = program, trainset, options) do
    with {:ok, trainset} <- examples(trainset),
         optimizer = Keyword.get(options, :optimizer, :bootstrap_few_shot),
         :ok <- Check.all(optimizer: optimizer, on_progress: options[:on_progress]),
         {:ok, metric, tools} <- metric(options),
         params = [{"trainset", trainset}, {"metric", metric} | optimizer(optimizer)],
         {:ok, %Ordered{pairs: pairs}} <- run("program.optimize", program, params, tools, options) do
      result = Map.new(pairs)

      with {:ok, better} <- Program.from_json(result["program"], tools: Map.values(Program.tools(program))) do
        counts = for name <- ~w(tried bootstrapped failed)a, into: %{}, do: {name, result[Atom.to_string(name)]}
        {:ok, Map.put(counts, :program, better)}
      end
    end
  end

  defp run(method, program, params, tools, options) do
    {own, options} = Keyword.split(options, @own)
    options = Keyword.put_new(options, :timeout, :infinity)
    Caller.work(method, program, params, options, tools, progress(own[:on_progress]))
  end

  defp progress(nil), do: nil

  defp progress(function) do
    fn
      %{"type" => "status", "done" => done} = event ->
        function.(%{done: done, total: event["total"], score: event["score"]})

      _other ->
        :ok
    end
  end

  defp examples(examples) when is_list(examples) do
    if List.improper?(examples), do: invalid("the examples are a list that ends in no list"), else: checked(examples)
  end

  defp examples(other), do: invalid("the examples are a list, not #{inspect(other, limit: 5)}")

  defp checked(examples) do
    if bad = Enum.find(examples, &(example(&1) == nil)) do
      invalid("an example is {inputs, outputs}, or a map with :inputs and :outputs, not #{inspect(bad, limit: 5)}")
    else
      {:ok, Enum.map(examples, &example/1)}
    end
  end

  defp example({inputs, outputs}), do: Ordered.new([{"inputs", fields(inputs)}, {"outputs", fields(outputs)}])
  defp example(%{inputs: inputs, outputs: outputs}), do: example({inputs, outputs})
  defp example(%{"inputs" => inputs, "outputs" => outputs}), do: example({inputs, outputs})
  defp example(_other), do: nil

  defp fields(fields) when is_list(fields), do: if(Keyword.keyword?(fields), do: Ordered.new(fields), else: fields)
  defp fields(fields), do: fields

  defp metric(options) do
    timeout = Keyword.get(options, :metric_timeout, 30_000)

    case Keyword.get(options, :metric) do
      function when is_function(function, 2) ->
        score = fn %{"inputs" => inputs, "expected" => expected, "outputs" => outputs} ->
          function.(%{inputs: inputs, outputs: expected}, outputs)
        end

        tool = Tool.new(@metric_tool, score, timeout: timeout)
        timeout_ms = if is_integer(timeout), do: timeout
        {:ok, Ordered.new([{"tool", @metric_tool}, {"timeout_ms", timeout_ms}]), %{@metric_tool => tool}}

      name when (is_atom(name) and name not in [nil, true, false]) or is_binary(name) ->
        {:ok, to_string(name), %{}}

      other ->
        invalid(
          "metric is #{inspect(other)}; it must be a name like :exact_match, or a function of example and outputs"
        )
    end
  end

  defp concurrency(options), do: for({:concurrency, count} <- options, do: {"concurrency", count})

  defp optimizer({name, config}), do: [{"optimizer", to_string(name)}, {"config", fields(config)}]
  defp optimizer(name), do: [{"optimizer", to_string(name)}]

  defp outcome(%{"error" => nil} = row), do: row
  defp outcome(%{"error" => error} = row), do: %{row | "error" => Error.from_object(error)}

  defp invalid(problem), do: {:error, Error.argument(problem)}
end
