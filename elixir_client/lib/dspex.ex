defmodule DSPex do
  @moduledoc """
  DSPy programs from Elixir, run by a pool of supervised Python workers.

      children = [
        {DSPex, name: MyApp.DSPex, pools: [default: [workers: 2, lm: "openai/gpt-4o-mini"]]}
      ]

      program = DSPex.ChainOfThought.new("question -> answer: str, confidence: float")
      {:ok, prediction} = DSPex.call(program, %{question: "Why is the sky blue?"}, instance: MyApp.DSPex)
      prediction["answer"]

  ## Options of an instance

    * `:name` – the instance's name, a module name (`DSPex`); calls name it with `instance:`
    * `:pools` – a keyword list of pools; the first one is the default of calls

    * `:native` – what Elixir may answer by itself: `lms:`, a keyword list of names and options of `DSPex.Native.LM.new/2`
      with `model:`, as `[lms: [default: [model: "openai/gpt-4o-mini"]]]`; and `prefer:`, `:native` (default) or `:python`
    * `:cache` – options of `DSPex.Cache` without its name, for calls with `cache: true`

  Options of a pool:

  #{DSPex.Options.pool_docs()}

  ## Options of calls

    * `:instance` – the instance (`DSPex`)
    * `:pool` – the pool (the instance's first)
    * `:timeout` – ms, or `:infinity` (60,000); when it passes, the work in Python is stopped
    * `:lm` – name of an LM in the worker's settings
    * `:adapter` – `:chat`, `:json` or `:xml`
    * `:config` – LM parameters for this call: `temperature`, `max_tokens`, `n`, …
    * `:session`, `:tenant`, `:idempotency_key`, `:traceparent` – text
    * `:implementation` – `:auto`, `:native` or `:python`: see `DSPex.Router`
    * `:cache` – `true` takes the answer from the instance's cache, or puts it there (`cache:` of the instance)
    * `:execution` – retries, fallback, limits, debug trace of the worker's executor: see `DSPex.Execution`
    * `:encoding` – `:json` or `:msgpack` (the pool's)

  Every function returns `{:ok, _}` or `{:error, %DSPex.Error{}}`. When the calling process dies, its calls are cancelled
  in Python too.
  """

  alias DSPex.Async
  alias DSPex.Breaker
  alias DSPex.Caller
  alias DSPex.Check
  alias DSPex.Error
  alias DSPex.Instance
  alias DSPex.Native
  alias DSPex.Pool
  alias DSPex.Pool.Watch
  alias DSPex.Prediction
  alias DSPex.Program
  alias DSPex.Trace

  @type inputs :: map | keyword
  @type option :: {atom, term}

  @doc "Starts an instance, for a supervision tree: `{DSPex, name: MyApp.DSPex, pools: [...]}`."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{id: Keyword.get(options, :name, DSPex), start: {__MODULE__, :start_link, [options]}, type: :supervisor}
  end

  @doc """
  Starts an instance. Raises `ArgumentError` on options that are wrong. It does not wait for Python: a pool whose Python
  can't start says why in the error of every call, and in `info/1`.
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options \\ []) do
    Instance.start_link(if(Keyword.keyword?(options), do: Keyword.put_new(options, :name, __MODULE__), else: options))
  end

  @doc "Runs a program on inputs, a map or keyword list of exactly its input fields."
  @spec call(Program.t(), inputs, [option]) :: {:ok, Prediction.t()} | {:error, Error.t()}
  def call(program, inputs, options \\ []) do
    with :ok <- Check.all(program: program, inputs: inputs, options: options), do: Caller.call(program, inputs, options)
  end

  @doc "As `call/3`; gives the prediction or raises the error."
  @spec call!(Program.t(), inputs, [option]) :: Prediction.t()
  def call!(program, inputs, options \\ []) do
    case call(program, inputs, options) do
      {:ok, prediction} -> prediction
      {:error, error} -> raise error
    end
  end

  @doc "Starts a call beside the caller. It ends with the caller's process. Arguments of the wrong kind raise `DSPex.Error`."
  @spec async(Program.t(), inputs, [option]) :: Async.t()
  def async(program, inputs, options \\ []) do
    with :ok <- Check.all(program: program, inputs: inputs, options: options),
         instance = Keyword.get(options, :instance, DSPex),
         {:ok, _table} <- Instance.table(instance) do
      options = Trace.carry(options)
      Async.start(Instance.tasks(instance), fn owner -> call(program, inputs, [{:owner, owner} | options]) end)
    else
      {:error, error} -> raise error
    end
  end

  @doc "Waits for the outcome of an async call (`timeout` in ms, or `:infinity`); when the time passes it is cancelled."
  @spec await(Async.t(), timeout) :: {:ok, Prediction.t()} | {:error, Error.t()}
  defdelegate await(async, timeout \\ :infinity), to: Async

  @doc "Stops an async call: its work in Python is cancelled, and `await/2` gives the error `:cancelled`."
  @spec cancel(Async.t()) :: :ok | {:error, Error.t()}
  defdelegate cancel(async), to: Async

  @doc """
  Runs a program as a stream of `DSPex.Event`: tokens and other events as they come, and last of all `:done` with the
  prediction. It starts when it is enumerated, reads from the LM only as fast as it is read itself, and is cancelled when it
  is halted. An error is raised.

      for %DSPex.Event{type: :token} = event <- DSPex.stream(program, inputs), do: IO.write(event.text)
  """
  @spec stream(Program.t(), inputs, [option]) :: Enumerable.t()
  def stream(program, inputs, options \\ []) do
    case Check.all(program: program, inputs: inputs, options: options) do
      :ok -> Caller.stream(program, inputs, options)
      {:error, error} -> Stream.resource(fn -> raise error end, &{:halt, &1}, & &1)
    end
  end

  @doc """
  Runs a program over a list of inputs, several at once, and gives the outcomes in order. Option `:max_concurrency` (32).
  Arguments of the wrong kind are one error, `{:error, _}`.
  """
  @spec batch(Program.t(), [inputs], [option]) :: [{:ok, Prediction.t()} | {:error, Error.t()}] | {:error, Error.t()}
  def batch(program, inputs_list, options \\ []) do
    with :ok <- Check.all(program: program, inputs_list: inputs_list, options: options),
         {concurrency, options} = Keyword.pop(options, :max_concurrency, 32),
         :ok <- Check.all(max_concurrency: concurrency) do
      settings = [max_concurrency: concurrency, timeout: :infinity, ordered: true]
      options = Trace.carry(options)

      inputs_list
      |> Task.async_stream(&call(program, &1, options), settings)
      |> Enum.map(fn {:ok, outcome} -> outcome end)
    end
  end

  @doc "What Python makes of a program: fields with their types, instructions, predictors, demos, LM, adapter."
  @spec describe(Program.t(), [option]) :: {:ok, map} | {:error, Error.t()}
  def describe(program, options \\ []) do
    with :ok <- Check.all(program: program, options: options), do: Caller.describe(program, options)
  end

  @doc """
  Scores a program over examples, several at once: a map with `"score"` (their mean), `"total"`, `"failed"`, `"usage"`, `"cost"`
  and `"results"`, a list of maps with `"index"`, `"score"`, `"outputs"` and `"error"` (a `DSPex.Error`, or nil).

  Options: see `DSPex.Learning`; and `:concurrency` (8), examples under way at a time.

      DSPex.evaluate(program, [{%{question: "6 * 7?"}, %{answer: "42"}}], metric: :exact_match)
  """
  @spec evaluate(Program.t(), [DSPex.Learning.example()], [option]) :: {:ok, map} | {:error, Error.t()}
  def evaluate(program, examples, options \\ []) do
    with :ok <- Check.all(program: program, options: options),
         do: DSPex.Learning.evaluate(program, examples, options)
  end

  @doc """
  Makes a program better by examples: a map with `:program`, the new one, and how many examples were `:tried`, became demos
  (`:bootstrapped`) and `:failed`. The new program runs in Python and natively, and is data: `dump/1` it.

  Options: see `DSPex.Learning`; and `:optimizer`, `:bootstrap_few_shot` or with settings
  `{:bootstrap_few_shot, max_bootstrapped_demos: 4, max_labeled_demos: 16, threshold: 1.0}`.
  """
  @spec optimize(Program.t(), [DSPex.Learning.example()], [option]) :: {:ok, map} | {:error, Error.t()}
  def optimize(program, trainset, options \\ []) do
    with :ok <- Check.all(program: program, options: options),
         do: DSPex.Learning.optimize(program, trainset, options)
  end

  @doc """
  Sends any request of protocol 1 to a worker and gives its result, with maps plain (or ordered, with `maps: :ordered`).
  """
  @spec request(String.t(), map | [{String.t(), term}], [option]) :: {:ok, term} | {:error, Error.t()}
  def request(method, params \\ [], options \\ []) do
    with :ok <- Check.all(method: method, params: params, options: options), do: Caller.request(method, params, options)
  end

  @doc """
  What is known of an instance without asking any worker: for each pool its workers with state, process id, versions and
  load, how they start (`:fork_server`, `:fresh`, `:snakepit`, or `:given` by a transport), the cause where one can't, and the length of
  the queue.
  """
  @spec info(atom) :: {:ok, map} | {:error, Error.t()}
  def info(instance \\ DSPex) do
    with {:ok, table} <- Instance.table(instance) do
      {:ok, Map.new(:ets.lookup_element(table, :pools, 2), &{&1, pool_info(table, &1)})}
    end
  end

  @doc """
  How every pool of an instance does, without asking any worker: a map of `t:DSPex.Pool.Status.t/0` by the pools' names.
  """
  @spec status(atom) :: {:ok, %{atom => Pool.Status.t()}} | {:error, Error.t()}
  def status(instance \\ DSPex) do
    with {:ok, table} <- Instance.table(instance), {:ok, info} <- info(instance) do
      {:ok, Map.new(info, fn {pool, known} -> {pool, Pool.Status.of(known, Breaker.state(table, {:pool, pool}))} end)}
    end
  end

  @doc "How one pool of an instance does: see `DSPex.Pool.Status`."
  @spec status(atom, atom) :: {:ok, Pool.Status.t()} | {:error, Error.t()}
  def status(instance, pool) do
    with {:ok, pools} <- status(instance),
         :error <- Map.fetch(pools, pool),
         do: {:error, Pool.unknown(pool, Map.keys(pools))}
  end

  @doc """
  Asks every worker of an instance for a sign of life. `:ok` when each pool has a worker that answers within `timeout` ms.
  """
  @spec health_check(atom, timeout) :: :ok | {:error, Error.t()}
  def health_check(instance \\ DSPex, timeout \\ 5_000) do
    with :ok <- Check.all(timeout: timeout), {:ok, info} <- info(instance) do
      case Enum.reject(info, fn {pool, pool_info} ->
             Enum.any?(pool_info.workers, &alive?(instance, pool, &1, timeout))
           end) do
        [] -> :ok
        [{pool, %{cause: %Error{} = cause}} | _rest] -> {:error, %{cause | message: "pool #{pool}: #{cause.message}"}}
        [{pool, _info} | _rest] -> {:error, Error.new(:unavailable, "pool #{pool}: no worker answers")}
      end
    end
  end

  @doc """
  Waits until every worker of the instance is ready, or until one can't start.
  """
  @spec await_ready(atom, timeout) :: :ok | {:error, Error.t()}
  def await_ready(instance \\ DSPex, timeout \\ 60_000) do
    with :ok <- Check.all(timeout: timeout), do: ready_by(instance, Watch.deadline(timeout))
  end

  @doc "Changes the number of workers of a pool. Those that go finish their calls first; no call is lost."
  @spec resize(atom, atom, non_neg_integer) :: :ok | {:error, Error.t()}
  def resize(instance \\ DSPex, pool, count) do
    with {:ok, table} <- Instance.table(instance), do: Pool.resize(table, pool, count)
  end

  @doc "Lets a pool's calls finish and takes its workers away; further calls are `:unavailable` until `resize/3`."
  @spec drain(atom, atom) :: :ok | {:error, Error.t()}
  def drain(instance \\ DSPex, pool), do: resize(instance, pool, 0)

  @doc "Replaces the Python processes of a pool one after the other. Calls go to the others meanwhile."
  @spec restart(atom, atom, timeout) :: :ok | {:error, Error.t()}
  def restart(instance \\ DSPex, pool, timeout \\ 120_000) do
    with :ok <- Check.all(timeout: timeout),
         {:ok, table} <- Instance.table(instance),
         do: Pool.restart(table, pool, timeout)
  end

  @doc """
  Runs a stream beside the caller and sends it to `pid`, for LiveView and GenServers: `{ref, {:chunk, event}}` for each
  `DSPex.Event`, at the end `{ref, {:done, prediction}}` or `{ref, {:error, error}}`. Gives `{:ok, ref}`.

  The death of `pid` cancels the stream.
  """
  @spec stream_to(pid, Program.t(), inputs, [option]) :: {:ok, reference} | {:error, Error.t()}
  def stream_to(pid, program, inputs, options \\ []) do
    with :ok <- Check.all(pid: pid, program: program, inputs: inputs, options: options),
         instance = Keyword.get(options, :instance, DSPex),
         {:ok, _table} <- Instance.table(instance) do
      ref = make_ref()
      stream = stream(program, inputs, [{:owner, pid} | options])
      {:ok, _task} = Task.Supervisor.start_child(Instance.tasks(instance), fn -> forward(stream, pid, ref) end)
      {:ok, ref}
    end
  end

  defp forward(stream, pid, ref) do
    Enum.each(stream, fn
      %DSPex.Event{type: :done, prediction: prediction} -> send(pid, {ref, {:done, prediction}})
      event -> send(pid, {ref, {:chunk, event}})
    end)
  rescue
    error in Error -> send(pid, {ref, {:error, error}})
  end

  @doc "One call of `DSPex.Predict`: `predict(\"question -> answer\", question: \"?\")`."
  @spec predict(String.t() | map, inputs, [option]) :: {:ok, Prediction.t()} | {:error, Error.t()}
  def predict(signature, inputs, options \\ []) do
    with :ok <- Check.all(signature: signature), do: call(DSPex.Predict.new(signature), inputs, options)
  end

  @doc "One call of `DSPex.ChainOfThought`."
  @spec chain_of_thought(String.t() | map, inputs, [option]) :: {:ok, Prediction.t()} | {:error, Error.t()}
  def chain_of_thought(signature, inputs, options \\ []) do
    with :ok <- Check.all(signature: signature), do: call(DSPex.ChainOfThought.new(signature), inputs, options)
  end

  @doc "One call of `DSPex.ReAct` with a list of `DSPex.Tool`."
  @spec react(String.t() | map, [DSPex.Tool.t()], inputs, [option]) :: {:ok, Prediction.t()} | {:error, Error.t()}
  def react(signature, tools, inputs, options \\ []) do
    with :ok <- Check.all(signature: signature, tools: tools),
         do: call(DSPex.ReAct.new(signature, tools: tools), inputs, options)
  end

  @doc """
  Writes a program as JSON text, to be stored or sent.

      iex> DSPex.dump(DSPex.Predict.new("question -> answer"))
      {:ok, ~s({"format":1,"kind":"predict","signature":"question -> answer"})}
  """
  @spec dump(Program.t()) :: {:ok, String.t()} | {:error, Error.t()}
  def dump(program) do
    with :ok <- Check.all(program: program), do: json(Program.to_json(program))
  end

  @doc """
  Writes a program as JSON text as a worker holds it: with the `state` of every predictor (instructions, demos, fields) and
  DSPy's version, without settings of LMs. Options: those of calls that say where (`:instance`, `:pool`, `:timeout`, …).

      {:ok, text} = DSPex.dump(program, instance: MyApp.DSPex)
  """
  @spec dump(Program.t(), [option]) :: {:ok, String.t()} | {:error, Error.t()}
  def dump(program, options) do
    with :ok <- Check.all(program: program, options: options),
         {:ok, dumped} <- Caller.dump(program, options),
         do: json(dumped)
  end

  defp json(ordered) do
    with {:ok, json, _parts} <- DSPex.Wire.Json.encode(ordered, %DSPex.Wire.Limits{attach: :infinity}),
         do: {:ok, IO.iodata_to_binary(json)}
  end

  @doc """
  Reads a program from JSON text; `tools:` gives its tools their functions back.

      iex> {:ok, program} = DSPex.load(~s({"format":1,"kind":"predict","signature":"question -> answer"}))
      iex> program.signature
      "question -> answer"
  """
  @spec load(String.t(), keyword) :: {:ok, Program.t()} | {:error, Error.t()}
  def load(text, options \\ []) do
    with :ok <- Check.all(text: text, options: options),
         :ok <- Check.all(tools: Keyword.get(options, :tools, [])),
         {:ok, json} <- DSPex.Wire.Json.decode(text, %DSPex.Wire.Limits{maps: :ordered}) do
      if is_struct(json, DSPex.Ordered),
        do: Program.from_json(json, options),
        else: {:error, Error.argument("the program cannot be read: it is no JSON object")}
    end
  end

  @doc "Parses a signature: `DSPex.Signature.parse/1`."
  @spec signature(String.t()) :: {:ok, DSPex.Signature.t()} | {:error, DSPex.SignatureError.t()}
  def signature(text), do: with(:ok <- Check.all(text: text), do: DSPex.Signature.parse(text))

  @doc "Parses a signature and keeps it: `DSPex.Signature.compile/1`."
  @spec compile_signature(String.t()) :: {:ok, DSPex.Signature.t()} | {:error, DSPex.SignatureError.t()}
  def compile_signature(text), do: with(:ok <- Check.all(text: text), do: DSPex.Signature.compile(text))

  @doc """
  Checks values against the outputs of a signature (text, or parsed): `DSPex.Signature.validate_outputs/2`.

      iex> DSPex.validate(%{answer: "42"}, "question -> answer: int")
      {:ok, %{"answer" => 42}}
  """
  @spec validate(map | keyword, String.t() | DSPex.Signature.t()) :: {:ok, map} | {:error, Exception.t()}
  def validate(values, signature) when is_binary(signature) do
    with {:ok, signature} <- compile_signature(signature), do: validate(values, signature)
  end

  def validate(values, %DSPex.Signature{} = signature) do
    with :ok <- Check.all(values: values), do: DSPex.Signature.validate_outputs(signature, values)
  end

  def validate(_values, other), do: Check.all(text: other)

  @doc "Renders a template without running code: `DSPex.Native.Template.render/2`."
  @spec render_template(String.t(), map) :: {:ok, String.t()} | {:error, Error.t()}
  def render_template(template, values) do
    with :ok <- Check.all(template: template, values: values), do: Native.Template.render(template, values)
  end

  @doc "Builds a pipeline of steps: `DSPex.Pipeline.new/1`."
  @spec pipeline([term]) :: {:ok, DSPex.Pipeline.t()} | {:error, Error.t()}
  def pipeline(steps), do: with(:ok <- Check.all(steps: steps), do: DSPex.Pipeline.new(steps))

  @doc "Runs a pipeline: `DSPex.Pipeline.run/3`."
  @spec run_pipeline(DSPex.Pipeline.t(), map, keyword) :: {:ok, DSPex.Pipeline.Result.t()} | {:error, Error.t()}
  def run_pipeline(pipeline, inputs, options \\ []), do: DSPex.Pipeline.run(pipeline, inputs, options)

  @doc """
  An LM that Elixir asks by itself: `model:` and the options of `DSPex.Native.LM.new/2`.

      iex> {:ok, lm} = DSPex.lm_client(model: "openai/gpt-4o-mini", base_url: "http://127.0.0.1:9/v1")
      iex> lm.model
      "openai/gpt-4o-mini"
  """
  @spec lm_client(keyword) :: {:ok, Native.LM.t()} | {:error, Error.t()}
  def lm_client(options) do
    with :ok <- Check.all(options: options), do: lm_of(options)
  end

  defp lm_of(options) do
    case Keyword.pop(options, :model) do
      {model, options} when is_binary(model) ->
        with :ok <- Check.all(params: Keyword.get(options, :params, %{})), do: {:ok, Native.LM.new(model, options)}

      {_none, _options} ->
        {:error, Error.argument("lm_client needs model:, as \"openai/gpt-4o-mini\"")}
    end
  rescue
    error in ArgumentError -> {:error, Error.argument(error.message)}
  end

  @doc "Asks such an LM with a text or a list of messages: `DSPex.Native.LM.chat/3`; gives the text of the answer."
  @spec lm_generate(Native.LM.t(), String.t() | [map], keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def lm_generate(lm, prompt, options \\ [])

  def lm_generate(lm, prompt, options) when is_binary(prompt),
    do: lm_generate(lm, [%{"role" => "user", "content" => prompt}], options)

  def lm_generate(lm, messages, options) do
    with :ok <- Check.all(lm: lm, prompt: messages, options: options),
         {params, timeout} = {Keyword.get(options, :params, %{}), Keyword.get(options, :timeout, :infinity)},
         :ok <- Check.all(params: params, timeout: timeout, on_text: options[:on_text]),
         :ok <- fits(lm, messages, options),
         {:ok, completion} <- Native.LM.chat(lm, messages, options),
         do: {:ok, completion.text}
  end

  # Before anything is sent: what functions of the caller raise later is the caller's.
  defp fits(lm, messages, options) do
    _body = Native.LM.body(lm, messages, options)
    :ok
  rescue
    error in ArgumentError -> {:error, Error.argument(error.message)}
  end

  defp ready_by(instance, deadline) do
    with {:ok, table} <- Instance.table(instance) do
      case Watch.until(table, deadline, fn -> readiness(instance) end) do
        :late -> {:error, not_ready(instance)}
        # Its supervisor may have another by now.
        :gone -> ready_by(instance, deadline)
        outcome -> outcome
      end
    end
  end

  defp readiness(instance) do
    with {:ok, info} <- info(instance) do
      cause = Enum.find_value(info, fn {_pool, pool} -> pool.cause end)

      cond do
        Enum.all?(info, fn {_pool, pool} -> ready?(pool) end) -> :ok
        cause != nil -> {:error, cause}
        true -> :again
      end
    end
  end

  defp ready?(pool), do: length(pool.workers) == pool.size and Enum.all?(pool.workers, &(&1.state == :ready))

  defp not_ready(instance) do
    with {:ok, info} <- info(instance) do
      states = for {_pool, pool} <- info, worker <- pool.workers, do: worker.state
      Error.new(:timeout, "the workers of #{inspect(instance)} are #{inspect(states)} after the time given")
    else
      {:error, error} -> error
    end
  end

  defp pool_info(table, pool) do
    case Pool.fetch(table, pool) do
      {:ok, row} -> pool_info(table, pool, row)
      # The instance is about to start it.
      :error -> %{workers: [], size: 1, queued: 0, start: nil, cause: nil}
    end
  end

  defp pool_info(table, pool, row) do
    workers =
      for {index, pid, worker} <- Pool.workers(table, pool) do
        load = Pool.Slots.load(row.slots, index)
        Map.merge(worker, %{index: index, owner: pid, in_flight: load})
      end

    cause = Enum.find_value(workers, fn worker -> if worker.state == :down, do: worker.cause end)
    start = DSPex.Worker.StartMode.get(table, pool)

    %{
      workers: workers,
      size: Pool.Slots.size(row.slots),
      queued: Pool.Slots.waiting(row.slots),
      start: start,
      cause: cause
    }
  end

  defp alive?(instance, pool, %{state: :ready, index: index}, timeout),
    do: match?({:ok, _}, request("ping", [], instance: instance, pool: pool, worker: index, timeout: timeout))

  defp alive?(_instance, _pool, _worker, _timeout), do: false
end
