defmodule DSPex.Native.JsonSchemaTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.JsonSchema
  alias DSPex.Native.JsonSchema.Format
  alias DSPex.Native.JsonSchema.Pattern

  doctest DSPex.Native.JsonSchema
  doctest DSPex.Native.JsonSchema.Format
  doctest DSPex.Native.JsonSchema.Pattern

  @moduletag req: "FR3.2.2"

  defp problems(schema, value, options \\ []) do
    {:error, error} = schema |> JsonSchema.compile!(options) |> JsonSchema.validate(value)
    error.details["problems"]
  end

  describe "problems" do
    test "are told all at once, each with the place in the value and the way through the schema" do
      schema = %{
        "$defs" => %{"name" => %{"type" => "string", "maxLength" => 3}},
        "properties" => %{"a/b" => %{"$ref" => "#/$defs/name"}, "n" => %{"items" => %{"minimum" => 0}}}
      }

      found = problems(schema, %{"a/b" => "long", "n" => [1, -1]})

      assert Enum.map(found, &{&1["path"], &1["schema_path"], &1["keyword"]}) == [
               {"/a~1b", "/properties/a~1b/$ref/maxLength", "maxLength"},
               {"/n/1", "/properties/n/items/minimum", "minimum"}
             ]
    end

    test "of a union name the branch that was nearest" do
      schema = %{"anyOf" => [%{"type" => "string"}, %{"type" => "object", "required" => ["a", "b"]}]}
      assert [%{"keyword" => "anyOf", "message" => message}] = problems(schema, 1.5)
      assert message =~ "fits none of the 2 schemas"
    end

    test "have a message for every keyword" do
      cases = [
        {%{"type" => ["string", "null"]}, 1, "is an integer, not one of string, null"},
        {%{"const" => 1}, 2, "is not 1"},
        {%{"enum" => [1]}, nil, "is none of [1]"},
        {%{"maximum" => 1}, 2, "is 2, above the maximum 1"},
        {%{"exclusiveMinimum" => 1}, 1, "is 1, and must be above 1"},
        {%{"exclusiveMaximum" => 1}, 1, "is 1, and must be below 1"},
        {%{"multipleOf" => 0.1}, 0.25, "is 0.25, not a multiple of 0.1"},
        {%{"minLength" => 2}, "é", "has 1 characters, below the minimum 2"},
        {%{"pattern" => "^a"}, "b", "does not match the pattern \"^a\""},
        {%{"minItems" => 1}, [], "has 0 items, below the minimum 1"},
        {%{"maxItems" => 1}, [1, 2], "has 2 items, above the maximum 1"},
        {%{"uniqueItems" => true}, [1, 1.0], "has the same item twice"},
        {%{"minProperties" => 1}, %{}, "has 0 members, below the minimum 1"},
        {%{"maxProperties" => 0}, %{"a" => 1}, "has 1 members, above the maximum 0"},
        {%{"dependentRequired" => %{"a" => ["b"]}}, %{"a" => 1}, "has \"a\", and then needs \"b\""},
        {%{"not" => %{}}, 1, "fits the schema that it must not fit"},
        {%{"oneOf" => [true, true]}, 1, "fits 2 of the schemas, but must fit exactly one"},
        {%{"contains" => %{"const" => 1}}, [2], "has 0 items that fit, and needs 1"},
        {%{"contains" => true, "maxContains" => 1}, [1, 2], "has 2 items that fit, above 1"},
        {%{"properties" => %{"a" => false}}, %{"a" => 1}, "is not allowed here"}
      ]

      for {schema, value, message} <- cases do
        assert [%{"message" => ^message}] = problems(schema, value)
      end
    end
  end

  describe "compiling" do
    test "refuses a reference that leaves the document, and says what to do" do
      assert {:error, error} = JsonSchema.compile(%{"$ref" => "https://example.com/other.json#/a"})
      assert error.reason == :not_found
      assert error.message =~ "nothing is fetched"
    end

    test "refuses a reference to a missing place or anchor" do
      for reference <- ["#/$defs/absent", "#absent", "#/items/3"] do
        assert {:error, %{reason: :not_found}} = JsonSchema.compile(%{"$ref" => reference})
      end
    end

    test "refuses other dialects and unknown required vocabularies" do
      assert {:error, error} = JsonSchema.compile(%{"$schema" => "http://json-schema.org/draft-07/schema#"})
      assert error.message =~ "only https://json-schema.org/draft/2020-12/schema is known"

      meta = %{"$id" => "urn:my:meta", "$vocabulary" => %{"urn:my:vocabulary" => true}}
      assert {:error, error} = JsonSchema.compile(%{"$schema" => "urn:my:meta", "$defs" => %{"meta" => meta}})
      assert error.message =~ "urn:my:vocabulary"
    end

    test "refuses malformed keywords with their place" do
      assert {:error, error} = JsonSchema.compile(%{"properties" => %{"a" => %{"type" => "strin"}}})
      assert error.message =~ "the JSON Schema is malformed"
      assert error.message =~ "/properties/a/type"
      assert {:error, %{reason: :invalid_input}} = JsonSchema.compile("a text")
      assert {:error, %{reason: :invalid_input}} = JsonSchema.compile(%{"$ref" => "#/a", "a" => 1})
    end

    test "refuses patterns that are not ECMA's" do
      for pattern <- ["(", "[a", "\\Aa", "a\\", "(?R)", "(*ACCEPT)", "\\u12", "\\p{Letter", "(?#x)"] do
        assert {:error, error} = JsonSchema.compile(%{"pattern" => pattern})
        assert error.message =~ "cannot be used"
      end
    end

    test "takes schemas whose order is kept" do
      schema = DSPex.Ordered.new([{"type", "object"}, {"required", ["a"]}])
      compiled = JsonSchema.compile!(schema)
      assert JsonSchema.valid?(compiled, DSPex.Ordered.new([{"a", 1}]))
      refute JsonSchema.valid?(compiled, DSPex.Ordered.new([{"b", 1}]))
    end
  end

  describe "hostile schemas" do
    test "a reference to itself ends in a limit" do
      schema = JsonSchema.compile!(%{"$ref" => "#"})
      assert {:error, %{reason: :limit_exceeded}} = JsonSchema.validate(schema, 1)
      refute JsonSchema.valid?(schema, 1)
    end

    test "references that double at each level end in a limit" do
      names = for level <- 1..60, do: "l#{level}"

      definitions =
        for {name, next} <- Enum.zip(names, tl(names) ++ ["end"]), into: %{"end" => true} do
          {name, %{"allOf" => [%{"$ref" => "#/$defs/" <> next}, %{"$ref" => "#/$defs/" <> next}]}}
        end

      schema = JsonSchema.compile!(%{"$defs" => definitions, "$ref" => "#/$defs/l1"}, max_steps: 50_000)
      assert {:error, %{reason: :limit_exceeded, message: message}} = JsonSchema.validate(schema, 1)
      assert message =~ "max_steps"
    end

    test "a pattern that backtracks for ever counts as one that does not match" do
      schema = JsonSchema.compile!(%{"pattern" => "^(a+)+$"})
      refute JsonSchema.valid?(schema, String.duplicate("a", 200) <> "!")
    end

    test "text that is not UTF-8 does not match, and does not raise" do
      schema = JsonSchema.compile!(%{"pattern" => "a", "minLength" => 1})
      refute JsonSchema.valid?(schema, <<255, 254>>)
    end
  end

  describe "patterns" do
    test "mean what ECMA-262 says" do
      cases = [
        {"^\\d+$", "12", true},
        {"^\\d+$", "٣", false},
        {"^a$", "a\n", false},
        {"\\s", "\u00a0", true},
        {"^\\S$", "\ufeff", false},
        {"^[\\s]$", "\u2003", true},
        {"^\\u{1F600}$", "😀", true},
        {"^\\ud83d\\ude00$", "😀", true},
        {"^\\p{Script=Greek}+$", "λόγος", true},
        {"^\\P{Letter}$", "1", true},
        {"^[^]$", "\n", true},
        {"^[[a]$", "[", true},
        {"^\\p{ASCII}+$", "abc", true},
        {"^\\p{ASCII}+$", "é", false},
        {"^(?<first>a)\\k<first>$", "aa", true},
        {"^[\\b]$", "\b", true},
        {"^\\cA\\v\\0$", <<1, 11, 0>>, true},
        {"a[]", "a", false},
        {"^\\/$", "/", true},
        {"(?<=a)b(?!c)", "abd", true}
      ]

      for {source, text, expected} <- cases do
        {:ok, pattern} = Pattern.compile(source)
        assert {source, text, Pattern.match?(pattern, text)} == {source, text, expected}
      end
    end
  end

  describe "formats" do
    test "are annotations unless they are to be asserted" do
      schema = %{"format" => "date"}
      assert JsonSchema.valid?(JsonSchema.compile!(schema), "no date")
      assert [%{"keyword" => "format"}] = problems(schema, "no date", formats: :assert)
    end

    test "are told apart from what only looks like them" do
      cases = [
        {"date", "2026-02-28", "2026-2-28"},
        {"time", "23:59:60Z", "24:00:00Z"},
        {"date-time", "2026-01-02T03:04:05.1+02:00", "2026-01-02 03:04"},
        {"duration", "P1DT2H", "P"},
        {"email", "a.b@example.com", "a@@b"},
        {"hostname", "a-b.example", "-a.example"},
        {"ipv4", "127.0.0.1", "127.0.0.01"},
        {"ipv6", "fe80::1", "fe80::1%eth0"},
        {"uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08"},
        {"json-pointer", "/a~0b", "a"},
        {"relative-json-pointer", "1/a", "-1"},
        {"regex", "^a$", "("},
        {"uri", "https://example.com/a", "//example.com"},
        {"uri-reference", "/a", "a b"},
        {"idn-email", "ü@example.com", nil},
        {"no-such-format", "anything", nil}
      ]

      for {format, good, bad} <- cases do
        assert {format, Format.valid?(format, good)} == {format, true}
        if bad, do: assert({format, Format.valid?(format, bad)} == {format, false})
      end
    end
  end
end
