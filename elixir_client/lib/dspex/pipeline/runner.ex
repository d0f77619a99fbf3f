defmodule DSPex.Pipeline.Runner do
  @moduledoc """
  Runs the steps of a pipeline. Each attempt of a step has a process of its own, so that it can be stopped, and so that
  whatever it does to itself is an error of that step and of nothing else.

  Every step tells the coordinator what became of it (`{:pipeline, ref, event}`); see `DSPex.Pipeline.Coordinator`.
  """

  alias DSPex.Error
  alias DSPex.Pipeline.Native
  alias DSPex.Pipeline.Step
  alias DSPex.Pipeline.Tasks

  @type context :: %{
          coordinator: pid,
          ref: reference,
          call: function,
          stream: function | nil,
          deadline: integer | :infinity
        }

  @doc "Runs steps one after the other; gives the fields at the end."
  @spec sequence([Step.t()], map, context) :: {:ok, map} | {:error, Error.t()}
  def sequence(steps, fields, context) do
    Enum.reduce_while(steps, {:ok, fields}, fn step, {:ok, fields} ->
      case step(step, fields, context) do
        {:ok, outputs} -> {:cont, {:ok, Map.merge(fields, outputs)}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  @doc "Runs one step with its retries and what it does on errors; gives its outputs."
  @spec step(Step.t(), map, context) :: {:ok, map} | {:error, Error.t()}
  def step(step, fields, context) do
    started = System.monotonic_time()
    tell(context, {:step_start, %{name: step.name, path: step.path, kind: step.kind}})
    {attempts, outcome} = attempt(step, fields, context, 1)
    report = report(step, attempts, started)

    case outcome do
      {:ok, outputs, info} ->
        undo = step.compensate && fn -> step.compensate.(fields, outputs) end
        tell(context, {:step_stop, Map.merge(report, info), undo})
        {:ok, outputs}

      {:error, error} ->
        tell(context, {:step_stop, Map.merge(report, %{status: :error, error: error}), nil})
        recover(step.on_error, step, error, fields, context)
    end
  end

  defp report(step, attempts, started) do
    duration = System.convert_time_unit(System.monotonic_time() - started, :native, :microsecond) / 1000
    identity = %{name: step.name, path: step.path, kind: step.kind, attempts: attempts}
    Map.merge(identity, %{status: :ok, route: nil, usage: %{}, error: nil, duration_ms: duration})
  end

  defp recover(:halt, _step, error, _fields, _context), do: {:error, error}

  defp recover(:continue, step, error, _fields, context) do
    tell(context, {:passed_over, step.name, error})
    {:ok, %{}}
  end

  defp recover({:fallback, other}, step, error, fields, context) do
    tell(context, {:passed_over, step.name, error})
    step(other, fields, context)
  end

  defp attempt(step, fields, context, count) do
    case once(step, fields, context) do
      {:error, error} when count <= step.retries ->
        if error.retryable?, do: attempt(step, fields, context, count + 1), else: {count, {:error, error}}

      outcome ->
        {count, outcome}
    end
  end

  defp once(step, fields, context) do
    case step.needs -- Map.keys(fields) do
      [] -> [fn -> body(step, fields, context) end] |> Tasks.run(timeout: step.timeout) |> hd() |> outcome(step)
      [name | _rest] -> {:error, Error.new(:invalid_input, "step #{step.path} (#{step.name}) lacks the field #{name}")}
    end
  end

  defp outcome({:ok, {:ok, outputs, info}}, step), do: check_gives(outputs, info, step)
  defp outcome({:ok, {:error, %Error{} = error}}, _step), do: {:error, error}
  defp outcome({:ok, {:error, other}}, step), do: {:error, failed(step, "gave the error #{show(other)}", false)}

  defp outcome(:timeout, step) do
    {:error,
     Error.new(:timeout, "step #{step.path} (#{step.name}) took longer than #{step.timeout} ms; it was stopped")}
  end

  defp outcome({:exit, reason}, step), do: {:error, failed(step, "ended with " <> reason(reason), false)}

  defp check_gives(outputs, info, %Step{gives: gives} = step) when is_list(gives) do
    case gives -- Map.keys(outputs) do
      [] -> {:ok, outputs, info}
      [name | _rest] -> {:error, failed(step, "did not give the field #{name}", false)}
    end
  end

  defp check_gives(outputs, info, _step), do: {:ok, outputs, info}

  defp body(%Step{kind: :function} = step, fields, _context) do
    case step.body.(fields) do
      {:ok, %{} = outputs} -> {:ok, text_keys(outputs), %{route: :elixir}}
      {:error, error} -> {:error, error}
      %{} = outputs when not is_struct(outputs) -> {:ok, text_keys(outputs), %{route: :elixir}}
      other -> {:error, failed(step, "gave #{show(other)}, not a map of fields", false)}
    end
  end

  defp body(%Step{kind: :native, body: {_operation, prepared}}, fields, _context) do
    with {:ok, outputs} <- Native.run(prepared, fields), do: {:ok, outputs, %{route: :native}}
  end

  defp body(%Step{kind: :program, body: {program, rename}} = step, fields, context) do
    inputs = if step.needs == [], do: fields, else: Map.take(fields, step.needs)
    options = Keyword.merge(step.options, timeout: left(context.deadline, step.timeout))

    with {:ok, prediction} <- ask(context, step, program, inputs, options) do
      outputs = Map.new(prediction.outputs, fn {name, value} -> {Map.get(rename, name, name), value} end)
      {:ok, outputs, %{route: route(prediction.meta), usage: prediction.usage}}
    end
  end

  defp body(%Step{kind: :pipeline, children: children}, fields, context) do
    with {:ok, all} <- sequence(children, fields, context) do
      {:ok, Map.drop(all, Map.keys(fields) -- changed(fields, all)), %{}}
    end
  end

  defp body(%Step{kind: :parallel, children: children} = step, fields, context) do
    children
    |> Enum.map(fn child -> fn -> step(child, fields, context) end end)
    |> Tasks.run(max: max(step.max_concurrency, 1), halt?: &failed?/1)
    |> merge(step)
  end

  defp body(%Step{kind: :conditional, body: predicate, children: [yes | no]}, fields, context) do
    branch = if predicate.(fields), do: yes, else: List.first(no)
    if branch, do: with({:ok, outputs} <- step(branch, fields, context), do: {:ok, outputs, %{}}), else: {:ok, %{}, %{}}
  end

  defp body(%Step{kind: :map, body: field, children: [child]} = step, fields, context) do
    with {:ok, items} <- items(step, fields[field]) do
      items
      |> Enum.with_index()
      |> Enum.map(fn {item, index} ->
        fn -> step(%{child | path: "#{child.path}[#{index}]"}, Map.put(fields, step.as, item), context) end
      end)
      |> Tasks.run(max: max(step.max_concurrency, 1), halt?: &failed?/1)
      |> collect(step, child)
    end
  end

  defp body(%Step{kind: :reduce, body: {field, acc, initial}, children: [child]} = step, fields, context) do
    with {:ok, items} <- items(step, fields[field]) do
      Enum.reduce_while(items, {:ok, %{acc => initial}, %{}}, fn item, {:ok, %{^acc => value}, info} ->
        case step(child, Map.merge(fields, %{step.as => item, acc => value}), context) do
          {:ok, %{^acc => next}} -> {:cont, {:ok, %{acc => next}, info}}
          {:ok, _without} -> {:halt, {:error, failed(step, "got no field #{acc} from its step", false)}}
          error -> {:halt, error}
        end
      end)
    end
  end

  defp ask(%{stream: nil, call: call}, _step, program, inputs, options), do: call.(program, inputs, options)

  defp ask(%{stream: stream} = context, step, program, inputs, options) do
    stream.(program, inputs, options, fn event -> tell_and_wait(context, {:event, step.name, event}) end)
  end

  defp merge(outcomes, step) do
    case failure(outcomes) do
      nil ->
        {:ok, outcomes |> Enum.map(fn {:ok, {:ok, outputs}} -> outputs end) |> Enum.reduce(%{}, &Map.merge(&2, &1)),
         %{}}

      failure ->
        unwrap(failure, step)
    end
  end

  defp collect(outcomes, step, child) do
    case failure(outcomes) do
      nil ->
        outputs = Enum.map(outcomes, fn {:ok, {:ok, outputs}} -> outputs end)
        names = if is_list(child.gives), do: child.gives, else: outputs |> Enum.flat_map(&Map.keys/1) |> Enum.uniq()
        {:ok, Map.new(names, fn name -> {name, Enum.map(outputs, &Map.get(&1, name))} end), %{}}

      failure ->
        unwrap(failure, step)
    end
  end

  # The others were stopped because of it.
  defp failure(outcomes) do
    failures = Enum.filter(outcomes, &failed?/1)
    Enum.find(failures, List.first(failures), &(&1 != :stopped))
  end

  defp failed?({:ok, {:ok, _outputs}}), do: false
  defp failed?(_outcome), do: true

  defp unwrap({:ok, {:error, error}}, _step), do: {:error, error}
  defp unwrap({:exit, reason}, step), do: {:error, failed(step, "ended with " <> reason(reason), false)}
  defp unwrap(:stopped, step), do: {:error, failed(step, "was stopped", false)}

  defp items(_step, list) when is_list(list), do: {:ok, list}

  defp items(step, other),
    do: {:error, Error.new(:invalid_input, "step #{step.path} (#{step.name}) goes over a list, not #{show(other)}")}

  defp changed(before, all), do: for({name, value} <- all, is_map_key(before, name), before[name] !== value, do: name)

  defp route(%{"route" => "native"}), do: :native
  defp route(_meta), do: :python

  defp text_keys(outputs), do: Map.new(outputs, fn {name, value} -> {to_string(name), value} end)

  defp left(:infinity, timeout), do: timeout
  defp left(deadline, :infinity), do: max(1, deadline - System.monotonic_time(:millisecond))
  defp left(deadline, timeout), do: min(left(deadline, :infinity), timeout)

  defp tell(context, event), do: send(context.coordinator, {:pipeline, context.ref, event})

  # The consumer of a stream takes events one by one: the program that makes them waits for it, and so does its LM.
  defp tell_and_wait(context, event) do
    token = make_ref()
    send(context.coordinator, {:pipeline, context.ref, {:wait, self(), token, event}})
    receive do: ({:go_on, ^token} -> :ok)
  end

  defp failed(step, what, retryable?) do
    Error.new(:program_error, "step #{step.path} (#{step.name}) #{what}",
      retryable?: retryable?,
      details: %{"step" => step.path}
    )
  end

  defp reason({%{__exception__: true} = exception, _stack}),
    do: "#{inspect(exception.__struct__)}: #{Exception.message(exception)}"

  defp reason(:killed), do: "its process being killed"
  defp reason(reason), do: "exit " <> show(reason)

  defp show(value), do: inspect(value, limit: 5, printable_limit: 100)
end
