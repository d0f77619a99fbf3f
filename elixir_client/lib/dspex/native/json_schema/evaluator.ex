defmodule DSPex.Native.JsonSchema.Evaluator do
  @moduledoc """
  Applies compiled nodes to an instance.

  Each application gives `{problems, properties, items}`: what is wrong, and the names and places that were
  evaluated, which `unevaluatedProperties` and `unevaluatedItems` ask for. A part that failed evaluates nothing.
  """

  alias DSPex.Native.JsonSchema.Assertions
  alias DSPex.Native.JsonSchema.Pattern

  # Deeper than any honest schema; references that go round without consuming the instance end here.
  @max_depth 512
  @nothing %{}

  @doc "Runs a compiled schema: the problems in the order of the keywords, or the limit that stopped it."
  @spec run(map, term) :: {:ok, [map]} | {:limit, String.t()}
  def run(schema, instance) do
    context = %{schema: schema, steps: :counters.new(1, []), scope: [], depth: 0}
    {problems, _properties, _items} = apply_node(schema.root, instance, {[], []}, context)
    {:ok, Enum.map(problems, &format/1)}
  catch
    {:limit, message} -> {:limit, message}
  end

  defp apply_node(location, value, at, context) do
    count(context)

    case Map.fetch!(context.schema.nodes, location) do
      true -> pass()
      false -> fail(at, "false schema", "is not allowed here")
      {base, checks} -> run_checks(checks, value, at, enter(context, base))
    end
  end

  defp enter(%{scope: [base | _rest]} = context, base), do: %{context | depth: context.depth + 1}
  defp enter(context, base), do: %{context | depth: context.depth + 1, scope: [base | context.scope]}

  defp count(%{steps: steps, schema: %{max_steps: max}, depth: depth}) do
    :counters.add(steps, 1, 1)
    if :counters.get(steps, 1) > max, do: throw({:limit, "the validation needs more than #{max} steps (max_steps)"})
    if depth > @max_depth, do: throw({:limit, "the schema's references nest deeper than #{@max_depth}"})
  end

  defp run_checks(checks, value, at, context) do
    {problems, properties, items} =
      Enum.reduce(checks, {[], @nothing, @nothing}, fn check, {problems, properties, items} = done ->
        {more, new_properties, new_items} = check(check, value, at, context, done)
        {[more | problems], union(properties, new_properties), union(items, new_items)}
      end)

    case problems |> Enum.reverse() |> Enum.concat() do
      [] -> {[], properties, items}
      problems -> {problems, @nothing, @nothing}
    end
  end

  defp check({:assert, "format", _name}, _value, _at, %{schema: %{formats: :annotate}}, _done), do: pass()

  defp check({:assert, keyword, argument}, value, at, _context, _done) do
    case Assertions.check(keyword, argument, value) do
      :ok -> pass()
      {:error, message} -> fail(below(at, [keyword]), keyword, message)
    end
  end

  defp check({:pattern, source, pattern}, value, at, _context, _done) when is_binary(value) do
    if Pattern.match?(pattern, value),
      do: pass(),
      else: fail(below(at, ["pattern"]), "pattern", "does not match the pattern #{inspect(source)}")
  end

  defp check({:ref, keyword, location}, value, at, context, _done) do
    apply_node(location, value, below(at, [keyword]), context)
  end

  defp check({:dynamic, name, location}, value, at, context, _done) do
    dynamic = context.schema.dynamic
    outermost = Enum.find_value(Enum.reverse(context.scope), location, &Map.get(dynamic, {&1, name}))
    apply_node(outermost, value, below(at, ["$dynamicRef"]), context)
  end

  defp check({:all_of, children}, value, at, context, _done) do
    children |> Enum.map(&apply_node(&1, value, branch(at, "allOf", &1), context)) |> merge()
  end

  defp check({:any_of, children}, value, at, context, _done) do
    results = branches(children, value, at, "anyOf", context)

    case Enum.filter(results, &valid?/1) do
      [] -> fail(below(at, ["anyOf"]), "anyOf", "fits none of the #{length(children)} schemas: " <> closest(results))
      valid -> merge(valid)
    end
  end

  defp check({:one_of, children}, value, at, context, _done) do
    results = Enum.map(children, &apply_node(&1, value, branch(at, "oneOf", &1), context))

    case Enum.filter(results, &valid?/1) do
      [one] -> one
      [] -> fail(below(at, ["oneOf"]), "oneOf", "fits none of the #{length(children)} schemas: " <> closest(results))
      many -> fail(below(at, ["oneOf"]), "oneOf", "fits #{length(many)} of the schemas, but must fit exactly one")
    end
  end

  defp check({:not, child}, value, at, context, _done) do
    if valid?(apply_node(child, value, below(at, ["not"]), context)),
      do: fail(below(at, ["not"]), "not", "fits the schema that it must not fit"),
      else: pass()
  end

  defp check({:if, condition, yes, no}, value, at, context, _done) do
    tested = apply_node(condition, value, below(at, ["if"]), context)

    if valid?(tested),
      do: merge([tested, optional(yes, value, below(at, ["then"]), context)]),
      else: optional(no, value, below(at, ["else"]), context)
  end

  defp check({:dependent, children}, value, at, context, _done) when is_map(value) do
    for({name, child} <- children, is_map_key(value, name), do: {name, child})
    |> Enum.map(fn {name, child} -> apply_node(child, value, below(at, ["dependentSchemas", name]), context) end)
    |> merge()
  end

  defp check({:properties, children}, value, at, context, _done) when is_map(value) do
    members = for {name, child} <- children, is_map_key(value, name), do: {name, child, ["properties", name]}
    apply_members(members, value, at, context)
  end

  defp check({:pattern_properties, children}, value, at, context, _done) when is_map(value) do
    members =
      for {name, _member} <- value, {source, pattern, child} <- children, Pattern.match?(pattern, name) do
        {name, child, ["patternProperties", source]}
      end

    apply_members(members, value, at, context)
  end

  defp check({:additional, child, known, patterns}, value, at, context, _done) when is_map(value) do
    names =
      for {name, _member} <- value,
          not is_map_key(known, name),
          not Enum.any?(patterns, &Pattern.match?(&1, name)),
          do: name

    apply_members(Enum.map(names, &{&1, child, ["additionalProperties"]}), value, at, context)
  end

  defp check({:property_names, child}, value, at, context, _done) when is_map(value) do
    problems =
      Enum.flat_map(value, fn {name, _member} ->
        {problems, _properties, _items} = apply_node(child, name, instance_below(at, name, ["propertyNames"]), context)
        problems
      end)

    {problems, @nothing, @nothing}
  end

  defp check({:prefix_items, children}, value, at, context, _done) when is_list(value) do
    members =
      for {{item, child}, place} <- Enum.with_index(Enum.zip(value, children)),
          do: {place, item, child, ["prefixItems", place]}

    apply_items(members, at, context)
  end

  defp check({:items, child, from}, value, at, context, _done) when is_list(value) do
    members = for {item, place} <- Enum.with_index(value), place >= from, do: {place, item, child, ["items"]}
    apply_items(members, at, context)
  end

  defp check({:contains, child, min, max}, value, at, context, _done) when is_list(value) do
    places =
      for {item, place} <- Enum.with_index(value),
          valid?(apply_node(child, item, instance_below(at, place, ["contains"]), context)),
          do: place

    count = length(places)

    cond do
      count < min ->
        fail(below(at, ["contains"]), "contains", "has #{count} items that fit, and needs #{trunc(min)}")

      max != nil and count > max ->
        fail(below(at, ["maxContains"]), "maxContains", "has #{count} items that fit, above #{trunc(max)}")

      true ->
        {[], @nothing, Map.new(places, &{&1, true})}
    end
  end

  defp check({:unevaluated_properties, child}, value, at, context, {_problems, seen, _items}) when is_map(value) do
    names = for {name, _member} <- value, not is_map_key(seen, name), do: name
    apply_members(Enum.map(names, &{&1, child, ["unevaluatedProperties"]}), value, at, context)
  end

  defp check({:unevaluated_items, child}, value, at, context, {_problems, _properties, seen}) when is_list(value) do
    members =
      for {item, place} <- Enum.with_index(value),
          not is_map_key(seen, place),
          do: {place, item, child, ["unevaluatedItems"]}

    apply_items(members, at, context)
  end

  defp check(_check, _value, _at, _context, _done), do: pass()

  # `anyOf` may stop at the first that fits, unless somebody asks what each of them evaluated.
  defp branches(children, value, at, keyword, %{schema: %{track?: true}} = context) do
    Enum.map(children, &apply_node(&1, value, branch(at, keyword, &1), context))
  end

  defp branches(children, value, at, keyword, context) do
    Enum.reduce_while(children, [], fn child, done ->
      result = apply_node(child, value, branch(at, keyword, child), context)
      if valid?(result), do: {:halt, [result]}, else: {:cont, [result | done]}
    end)
  end

  defp apply_members(members, value, at, context) do
    problems =
      Enum.flat_map(members, fn {name, child, path} ->
        {problems, _p, _i} = apply_node(child, Map.fetch!(value, name), instance_below(at, name, path), context)
        problems
      end)

    {problems, Map.new(members, fn {name, _child, _path} -> {name, true} end), @nothing}
  end

  defp apply_items(members, at, context) do
    problems =
      Enum.flat_map(members, fn {place, item, child, path} ->
        {problems, _p, _i} = apply_node(child, item, instance_below(at, place, path), context)
        problems
      end)

    {problems, @nothing, Map.new(members, &{elem(&1, 0), true})}
  end

  defp optional(nil, _value, _at, _context), do: pass()
  defp optional(location, value, at, context), do: apply_node(location, value, at, context)

  defp merge(results) do
    Enum.reduce(results, pass(), fn {more, new_properties, new_items}, {problems, properties, items} ->
      {problems ++ more, union(properties, new_properties), union(items, new_items)}
    end)
  end

  defp union(left, right) when map_size(right) == 0, do: left
  defp union(left, right), do: Map.merge(left, right)

  defp valid?({problems, _properties, _items}), do: problems == []
  defp pass, do: {[], @nothing, @nothing}
  defp fail(at, keyword, message), do: {[{at, keyword, message}], @nothing, @nothing}

  # The branch with the fewest problems is the one that was probably meant.
  defp closest(results) do
    {problems, _properties, _items} = Enum.min_by(results, fn {problems, _p, _i} -> length(problems) end)
    {{instance, _schema}, _keyword, message} = hd(problems)
    String.trim_leading("#{pointer(instance)} #{message}")
  end

  defp branch(at, keyword, {_document, tokens}), do: below(at, [keyword, List.last(tokens)])
  defp below({instance, schema}, path), do: {instance, Enum.reverse(path, schema)}
  defp instance_below({instance, schema}, token, path), do: {[token | instance], Enum.reverse(path, schema)}

  defp format({{instance, schema}, keyword, message}) do
    %{"path" => pointer(instance), "schema_path" => pointer(schema), "keyword" => keyword, "message" => message}
  end

  defp pointer(reversed) do
    reversed |> Enum.reverse() |> Enum.map_join(fn token -> "/" <> escape(to_string(token)) end)
  end

  defp escape(token), do: token |> String.replace("~", "~0") |> String.replace("/", "~1")
end
