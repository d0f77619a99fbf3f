defmodule DSPex.Pipeline.Builder do
  @moduledoc """
  Makes steps of what users write, and follows the fields through them: a step that needs what nobody gives is a problem
  of the pipeline, not of its first run.
  """

  alias DSPex.Pipeline.Fields
  alias DSPex.Pipeline.Native
  alias DSPex.Pipeline.Step

  @common [:name, :timeout, :retries, :on_error, :compensate]
  @max_depth 16

  @doc "Makes steps of specifications. Raises `ArgumentError` for one that cannot be understood."
  @spec steps([term], String.t(), keyword) :: [Step.t()]
  def steps(specs, prefix, options \\ [])

  def steps([_first | _rest] = specs, prefix, options) do
    if length(String.split(prefix, ".")) > @max_depth, do: raise(ArgumentError, "steps nest deeper than #{@max_depth}")
    for {spec, index} <- Enum.with_index(specs, 1), do: step(spec, "#{prefix}#{index}", options)
  end

  def steps(other, _prefix, _options),
    do: raise(ArgumentError, "a pipeline is a list of steps, not #{inspect(other, limit: 3)}")

  @doc """
  The problems of the data flow, as text. `available` are the fields known at the start, or `:unknown`.
  """
  @spec problems([Step.t()], [String.t()] | :unknown) :: [String.t()]
  def problems(steps, available) do
    {problems, _available} = flow(steps, known(available))
    problems
  end

  @doc "What a sequence of steps needs from outside, and what it gives."
  @spec needs_and_gives([Step.t()]) :: {[String.t()], [String.t()] | :unknown}
  def needs_and_gives(steps) do
    Enum.reduce(steps, {[], []}, fn step, {needs, gives} ->
      missing = if gives == :unknown, do: [], else: step.needs -- gives
      {Enum.uniq(needs ++ missing), join(gives, step.gives)}
    end)
  end

  defp step(%{steps: [%Step{} | _rest]} = pipeline, path, options), do: step({:pipeline, pipeline, []}, path, options)
  defp step(%DSPex.Program{} = program, path, options), do: step({:program, program, []}, path, options)
  defp step(function, path, options) when is_function(function), do: step({:function, function, []}, path, options)

  defp step({function, opts}, path, options) when is_function(function) and is_list(opts),
    do: step({:function, function, opts}, path, options)

  defp step({kind, body}, path, options) when is_atom(kind), do: step({kind, body, []}, path, options)

  defp step({:function, function, opts}, path, _options) when is_function(function, 1) do
    make(:function, path, opts, [:inputs, :outputs], body: function, needs: names(opts[:inputs]), gives: given(opts))
  end

  # A function by name, as it comes from JSON; `functions` of `DSPex.Pipeline.from_json/2` has it.
  defp step({:function, name, opts}, path, options) when is_binary(name) do
    case options[:functions] do
      %{^name => function} ->
        step({:function, function, Keyword.put_new(opts, :name, name)}, path, options)

      _none ->
        raise ArgumentError,
              "step #{path}: the function #{inspect(name)} is not given; pass functions: %{#{inspect(name)} => fun}"
    end
  end

  defp step({:native, operation, opts}, path, _options) do
    {needs, gives, body} = Native.prepare(operation, opts)
    own = [:template, :schema, :field, :reference, :as]

    make(:native, path, Keyword.put_new(opts, :name, Atom.to_string(operation)), own,
      body: {operation, body},
      needs: needs,
      gives: gives
    )
  end

  defp step({:python, program, opts}, path, options) do
    step({:program, program, Keyword.put(opts, :implementation, :python)}, path, options)
  end

  defp step({:program, %DSPex.Program{} = program, opts}, path, _options) do
    {needs, gives} = Fields.of(program)
    {rename, opts} = Keyword.pop(opts, :rename, %{})
    gives = if is_list(gives), do: Enum.map(gives, &Map.get(rename, &1, &1)), else: gives
    own = [:implementation, :lm, :adapter, :config, :execution, :pool, :session, :tenant]
    name = program.name || program.kind
    make(:program, path, Keyword.put_new(opts, :name, name), own, body: {program, rename}, needs: needs, gives: gives)
  end

  # Specifications, as they come from JSON.
  defp step({:pipeline, [_first | _rest] = specs, opts}, path, options) do
    step({:pipeline, %{steps: steps(specs, "", options), name: nil, timeout: :infinity}, opts}, path, options)
  end

  defp step({:pipeline, %{steps: [%Step{} | _rest]} = inner, opts}, path, _options) do
    {needs, gives} = needs_and_gives(inner.steps)
    opts = Keyword.merge([name: inner.name || "pipeline", timeout: inner.timeout], opts)
    make(:pipeline, path, opts, [], children: inner.steps, needs: needs, gives: gives)
  end

  defp step({:parallel, specs, opts}, path, options) do
    children = steps(specs, path <> ".", options)
    check_overlap(children, path)
    gives = Enum.reduce(children, [], &join(&2, &1.gives))
    needs = children |> Enum.flat_map(& &1.needs) |> Enum.uniq()
    make(:parallel, path, opts, [:max_concurrency], children: children, needs: needs, gives: gives)
  end

  defp step({:conditional, predicate, yes}, path, options),
    do: step({:conditional, predicate, yes, nil, []}, path, options)

  defp step({:conditional, predicate, yes, no}, path, options),
    do: step({:conditional, predicate, yes, no, []}, path, options)

  defp step({:conditional, predicate, yes, no, opts}, path, options) when is_function(predicate, 1) do
    children = [step(yes, path <> ".1", options) | if(no, do: [step(no, path <> ".2", options)], else: [])]
    gives = if no, do: common(children), else: []
    needs = children |> Enum.flat_map(& &1.needs) |> Enum.uniq()
    make(:conditional, path, opts, [], body: predicate, children: children, needs: needs, gives: gives)
  end

  defp step({:map, field, spec}, path, options), do: step({:map, field, spec, []}, path, options)

  defp step({:map, field, spec, opts}, path, options) do
    as = to_string(Keyword.get(opts, :as, "item"))
    child = step(spec, path <> ".1", options)
    own = [:as, :max_concurrency]
    needs = Enum.uniq([to_string(field) | child.needs -- [as]])
    make(:map, path, opts, own, body: to_string(field), as: as, children: [child], needs: needs, gives: child.gives)
  end

  defp step({:reduce, field, spec, initial}, path, options),
    do: step({:reduce, field, spec, initial, []}, path, options)

  defp step({:reduce, field, spec, initial, opts}, path, options) do
    {as, acc} = {to_string(Keyword.get(opts, :as, "item")), to_string(Keyword.get(opts, :acc, "acc"))}
    child = step(spec, path <> ".1", options)
    needs = Enum.uniq([to_string(field) | child.needs -- [as, acc]])

    if is_list(child.gives) and acc not in child.gives,
      do: raise(ArgumentError, "step #{path}: what reduces must give the field #{acc}")

    make(:reduce, path, opts, [:as, :acc],
      body: {to_string(field), acc, initial},
      as: as,
      children: [child],
      needs: needs,
      gives: [acc]
    )
  end

  defp step(other, path, _options) do
    raise ArgumentError,
          "step #{path} cannot be understood: #{inspect(other, limit: 3, printable_limit: 80)}; see DSPex.Pipeline"
  end

  defp make(kind, path, opts, own, members) do
    case Keyword.keys(opts) -- (@common ++ own) do
      [] ->
        :ok

      [name | _rest] ->
        raise ArgumentError,
              "step #{path}: unknown option #{name}; a #{kind} step has #{Enum.join(own ++ @common, ", ")}"
    end

    %Step{kind: kind, path: path, name: to_string(Keyword.get(opts, :name, kind)), options: Keyword.take(opts, own)}
    |> struct!(members)
    |> struct!(Keyword.take(opts, [:compensate, :max_concurrency]))
    |> Map.merge(%{timeout: timeout!(opts, path), retries: retries!(opts, path), on_error: on_error!(opts, path)})
  end

  defp timeout!(opts, path) do
    case Keyword.get(opts, :timeout, :infinity) do
      :infinity ->
        :infinity

      ms when is_integer(ms) and ms > 0 ->
        ms

      other ->
        raise ArgumentError, "step #{path}: timeout is #{inspect(other)}; it must be milliseconds above 0, or :infinity"
    end
  end

  defp retries!(opts, path) do
    case Keyword.get(opts, :retries, 0) do
      count when is_integer(count) and count in 0..100 -> count
      other -> raise ArgumentError, "step #{path}: retries is #{inspect(other)}; it must be a number from 0 to 100"
    end
  end

  defp on_error!(opts, path) do
    case Keyword.get(opts, :on_error, :halt) do
      choice when choice in [:halt, :continue] ->
        choice

      {:fallback, spec} ->
        {:fallback, step(spec, path <> ".fallback", [])}

      other ->
        raise ArgumentError,
              "step #{path}: on_error is #{inspect(other, limit: 3)}; it must be :halt, :continue or {:fallback, step}"
    end
  end

  defp check_overlap(children, path) do
    names = for %Step{gives: gives} when is_list(gives) <- children, name <- Enum.uniq(gives), do: name

    case names -- Enum.uniq(names) do
      [] ->
        :ok

      [name | _rest] ->
        raise ArgumentError, "step #{path}: two parallel steps give the field #{name}; rename one of them"
    end
  end

  # A step that may be passed over gives nothing that can be relied on.
  defp flow(steps, available) do
    Enum.reduce(steps, {[], available}, fn step, {problems, available} ->
      missing = if available == :unknown, do: [], else: Enum.reject(step.needs, &(&1 in available))
      found = Enum.map(missing, &"step #{step.path} (#{step.name}) needs the field #{&1}, which nobody gives before it")
      {problems ++ found, after_step(step, available)}
    end)
  end

  defp after_step(%Step{on_error: :continue}, available), do: available
  defp after_step(%Step{on_error: {:fallback, other}} = step, available), do: join(available, common([step, other]))
  defp after_step(step, available), do: join(available, step.gives)

  defp common(steps) do
    Enum.reduce(steps, :all, fn
      %Step{gives: gives}, :all -> gives
      _step, :unknown -> :unknown
      %Step{gives: :unknown}, _gives -> :unknown
      %Step{gives: gives}, others -> Enum.filter(others, &(&1 in gives))
    end)
  end

  defp join(:unknown, _gives), do: :unknown
  defp join(_available, :unknown), do: :unknown
  defp join(available, gives), do: Enum.uniq(available ++ gives)

  defp known(:unknown), do: :unknown
  defp known(names), do: names(names)

  defp given(opts), do: if(Keyword.has_key?(opts, :outputs), do: names(opts[:outputs]), else: :unknown)
  defp names(nil), do: []
  defp names(names), do: Enum.map(names, &to_string/1)
end
