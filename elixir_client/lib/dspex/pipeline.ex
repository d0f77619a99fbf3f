defmodule DSPex.Pipeline do
  @moduledoc """
  Steps that pass fields to each other: programs, native operations and functions, in sequence, in parallel, by condition,
  over lists.

      pipeline =
        DSPex.Pipeline.new!(
          [
            {:native, :template, template: "About {{topic}}", as: "question"},
            {:program, DSPex.ChainOfThought.new("question -> answer"), timeout: 20_000, retries: 1},
            {:parallel, [
              {&MyApp.score/1, inputs: ["answer"], outputs: ["score"]},
              {:program, DSPex.Predict.new("answer -> title"), on_error: :continue}
            ]}
          ],
          name: "explain", inputs: ["topic"], timeout: 60_000
        )

      {:ok, result} = DSPex.Pipeline.run(pipeline, %{topic: "tides"}, instance: MyApp.DSPex)
      result["answer"]

  | step | |
  |---|---|
  | `%DSPex.Program{}`, `{:program, program, options}` | runs where the router says |
  | `{:python, program, options}` | runs in Python |
  | `{:native, operation, options}` | see `DSPex.Pipeline.Native` |
  | a function, `{function, options}` | takes the fields, gives a map, `{:ok, map}` or `{:error, reason}`; `inputs:` and `outputs:` tell which |
  | `{:parallel, steps, options}` | all see the same fields; the first failure stops the others; `max_concurrency` |
  | `{:conditional, predicate, step, else_step, options}` | `else_step` may be left out |
  | `{:map, field, step, options}` | the step for each item of a list, which it sees as `item` (`as:`); each output becomes a list |
  | `{:reduce, field, step, initial, options}` | the step sees `item` and `acc`, and gives `acc` |
  | `%DSPex.Pipeline{}`, `{:pipeline, pipeline, options}` | a pipeline as a step |

  Options of every step: `name`, `timeout` (ms; the work is stopped), `retries` (of errors that may be retried), `on_error`
  (`:halt`, `:continue`, `{:fallback, step}`), `compensate` (a function of the fields and the step's outputs, run when the
  pipeline fails, is cancelled or times out after the step was done; the last step's first).

  Fields have text names; atoms are taken for inputs and in the maps that functions give. What is needed and never given is
  found when the pipeline is built.
  """

  alias DSPex.Check
  alias DSPex.Error
  alias DSPex.Pipeline.Builder
  alias DSPex.Pipeline.Coordinator
  alias DSPex.Pipeline.Explain
  alias DSPex.Pipeline.Json
  alias DSPex.Pipeline.Result
  alias DSPex.Pipeline.Step

  # Not an alias: the facade uses this module, and modules that use each other cannot be read apart.
  @facade :"Elixir.DSPex"
  @run_options [:instance, :timeout, :on_progress]

  @enforce_keys [:steps]
  defstruct [:name, :steps, inputs: :unknown, outputs: :unknown, timeout: :infinity, specs: []]

  @type t :: %__MODULE__{
          name: String.t() | nil,
          steps: [Step.t()],
          inputs: [String.t()] | :unknown,
          outputs: [String.t()] | :unknown,
          timeout: timeout,
          specs: list
        }

  @doc """
  Builds a pipeline. Options: `:name`, `:inputs` (the fields given to `run/3`; without it they are not checked),
  `:timeout` (ms), `:functions` (by name, for steps `{:function, "name"}`).

      iex> {:error, error} = DSPex.Pipeline.new([{&Function.identity/1, inputs: ["a"], outputs: ["b"]}], inputs: ["c"])
      iex> error.message
      "the pipeline cannot be built: step 1 (function) needs the field a, which nobody gives before it"
  """
  @spec new([term], keyword) :: {:ok, t} | {:error, Error.t()}
  def new(specs, options \\ []) do
    options = Keyword.validate!(options, [:name, :inputs, :functions, timeout: :infinity])
    steps = Builder.steps(specs, "", functions: options[:functions])
    inputs = if options[:inputs], do: Enum.map(options[:inputs], &to_string/1), else: :unknown

    case Builder.problems(steps, inputs) do
      [] -> {:ok, build(steps, specs, inputs, options)}
      problems -> {:error, invalid(problems)}
    end
  rescue
    error in ArgumentError -> {:error, invalid([error.message])}
  end

  @doc "As `new/2`; raises the error."
  @spec new!([term], keyword) :: t
  def new!(specs, options \\ []) do
    case new(specs, options) do
      {:ok, pipeline} -> pipeline
      {:error, error} -> raise error
    end
  end

  @doc """
  Runs a pipeline.

      iex> pipeline = DSPex.Pipeline.new!([fn fields -> %{double: 2 * fields["n"]} end])
      iex> {:ok, result} = DSPex.Pipeline.run(pipeline, %{n: 21})
      iex> result["double"]
      42

  Options:

    * `:instance` – the instance that runs programs (`DSPex`)
    * `:timeout` – milliseconds for all of it (the pipeline's own unless given); the work is stopped
    * `:on_progress` – a function of each step's start and stop, run in the coordinator's process

  The error of a step that halts the pipeline is the pipeline's; `details["steps"]` tells what ran. When the caller dies,
  everything stops.
  """
  @spec run(t, map, keyword) :: {:ok, Result.t()} | {:error, Error.t()}
  def run(pipeline, inputs, options \\ []) do
    with :ok <- checked(pipeline, inputs, options), {:ok, fields} <- fields(pipeline, inputs) do
      {_pid, ref, monitor} = Coordinator.start(pipeline.steps, fields, settings(pipeline, options, []))
      await(ref, monitor)
    end
  end

  @doc "As `run/3`; raises the error."
  @spec run!(t, map, keyword) :: Result.t()
  def run!(pipeline, inputs, options \\ []) do
    case run(pipeline, inputs, options) do
      {:ok, result} -> result
      {:error, error} -> raise error
    end
  end

  @doc """
  Runs a pipeline as a stream: maps `%{type: :step_start | :step_stop, name: …}`, `%{type: :event, name: step, event:
  %DSPex.Event{}}` while a program answers, and at the end `%{type: :done, result: result}`. A failure raises its error.

  Nothing runs before the stream is consumed; programs wait for the consumer; a stream that is not read to its end stops
  the work.
  """
  @spec stream(t, map, keyword) :: Enumerable.t()
  def stream(pipeline, inputs, options \\ []) do
    Stream.resource(fn -> open(pipeline, inputs, options) end, &next/1, &close/1)
  end

  @doc """
  The graph of a pipeline, as `:text` or `:mermaid`.

      iex> pipeline = DSPex.Pipeline.new!([{&Function.identity/1, name: "same", inputs: ["a"], outputs: ["a"]}], inputs: ["a"])
      iex> DSPex.Pipeline.explain(pipeline)
      "pipeline: a -> a\\n  1 function same: a -> a"
  """
  @spec explain(t, :text | :mermaid) :: String.t()
  def explain(pipeline, form \\ :text)
  def explain(%__MODULE__{} = pipeline, :text), do: Explain.text(pipeline)
  def explain(%__MODULE__{} = pipeline, :mermaid), do: Explain.mermaid(pipeline)

  @doc "The pipeline as plain JSON values. Functions are kept by name; see `DSPex.Pipeline.Json`."
  @spec to_json(t) :: {:ok, DSPex.Ordered.t()} | {:error, Error.t()}
  defdelegate to_json(pipeline), to: Json

  @doc "Reads `to_json/1`'s values. Options: `:functions`, a map of the functions by name."
  @spec from_json(map | DSPex.Ordered.t(), keyword) :: {:ok, t} | {:error, Error.t()}
  def from_json(json, options \\ []) do
    with {:ok, specs, own} <- Json.read(json, options), do: new(specs, own)
  end

  @doc "Writes the pipeline to `<folder>/<name>.json`."
  @spec save(t, Path.t()) :: {:ok, Path.t()} | {:error, Error.t()}
  defdelegate save(pipeline, folder), to: Json

  @doc "Reads a pipeline by its name from a folder. Options as for `from_json/2`."
  @spec load(Path.t(), String.t(), keyword) :: {:ok, t} | {:error, Error.t()}
  def load(folder, name, options \\ []) do
    with {:ok, json} <- Json.load(folder, name), do: from_json(json, options)
  end

  defp build(steps, specs, inputs, options) do
    {needs, gives} = Builder.needs_and_gives(steps)
    inputs = if inputs == :unknown and gives != :unknown, do: needs, else: inputs

    %__MODULE__{
      name: options[:name],
      steps: steps,
      specs: specs,
      inputs: inputs,
      outputs: gives,
      timeout: options[:timeout]
    }
  end

  defp invalid(problems) do
    text = "the pipeline cannot be built: " <> Enum.join(problems, "; ")
    Error.new(:invalid_input, text, details: %{"problems" => problems})
  end

  defp fields(pipeline, inputs) do
    fields = Map.new(inputs, fn {name, value} -> {to_string(name), value} end)
    missing = if pipeline.inputs == :unknown, do: [], else: pipeline.inputs -- Map.keys(fields)

    case missing do
      [] ->
        {:ok, fields}

      names ->
        {:error,
         Error.new(:invalid_input, "the pipeline needs the inputs #{Enum.join(names, ", ")}",
           details: %{"missing" => names}
         )}
    end
  end

  defp checked(pipeline, inputs, options) do
    with :ok <- Check.all(pipeline: pipeline, fields: inputs, options: options),
         {:ok, options} <- Keyword.validate(options, @run_options),
         :ok <- Check.all(timeout: options[:timeout] || :infinity, instance: options[:instance]),
         :ok <- Check.all(on_progress: options[:on_progress]) do
      :ok
    else
      {:error, %Error{} = error} ->
        {:error, error}

      {:error, [name | _more]} ->
        text = "unknown option #{name} of the run; known are #{Enum.join(@run_options, ", ")}"
        {:error, Error.argument(text)}
    end
  end

  defp settings(pipeline, options, more) do
    instance = Keyword.get(options, :instance, @facade)

    call = fn program, inputs, call_options ->
      DSPex.Caller.call(program, inputs, [{:instance, instance} | call_options])
    end

    [call: call, timeout: options[:timeout] || pipeline.timeout, on_progress: options[:on_progress]] ++ more
  end

  defp await(ref, monitor) do
    receive do
      {^ref, :done, outcome} ->
        Process.demonitor(monitor, [:flush])
        outcome

      {:DOWN, ^monitor, :process, _pid, reason} ->
        {:error, Error.new(:internal, "the pipeline's coordinator died: #{inspect(reason, limit: 5)}")}
    end
  end

  defp open(pipeline, inputs, options) do
    with :ok <- checked(pipeline, inputs, options), {:ok, fields} <- fields(pipeline, inputs) do
      instance = Keyword.get(options, :instance, @facade)

      stream = fn program, inputs, call_options, emit ->
        relay(program, inputs, [{:instance, instance} | call_options], emit)
      end

      Coordinator.start(pipeline.steps, fields, settings(pipeline, options, events: true, stream: stream))
    else
      {:error, error} -> raise error
    end
  end

  defp next(:done), do: {:halt, :done}

  defp next({_pid, ref, monitor} = run) do
    receive do
      {^ref, :event, event, acknowledge} ->
        if acknowledge, do: acknowledge.()
        {[event], run}

      {^ref, :done, {:ok, result}} ->
        Process.demonitor(monitor, [:flush])
        {[%{type: :done, result: result}], :done}

      {^ref, :done, {:error, error}} ->
        raise error

      {:DOWN, ^monitor, :process, _pid, reason} ->
        raise Error.new(:internal, "the pipeline's coordinator died: #{inspect(reason, limit: 5)}")
    end
  end

  defp close(:done), do: :ok

  defp close({pid, ref, monitor}) do
    Coordinator.cancel(pid, ref)
    Process.demonitor(monitor, [:flush])
    gone = Process.monitor(pid)
    receive do: ({:DOWN, ^gone, :process, _pid, _reason} -> flush(ref))
  end

  defp flush(ref) do
    receive do
      {^ref, _kind, _one} -> flush(ref)
      {^ref, _kind, _one, _two} -> flush(ref)
    after
      0 -> :ok
    end
  end

  # The events of a program's stream go to the consumer of the pipeline; its prediction is the step's.
  defp relay(program, inputs, options, emit) do
    Enum.reduce(DSPex.Caller.stream(program, inputs, options), nil, fn
      %DSPex.Event{type: :done, prediction: prediction}, _last -> {:ok, prediction}
      event, last -> emit.(event) && last
    end)
  rescue
    error in Error -> {:error, error}
  end
end
